//! The convolutional network's trainer as a program.

fedmkt_guest::trainer!(digits::Classifier<digits::Cnn>);
