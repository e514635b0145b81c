//! The multilayer perceptron's trainer as a program.

fedmkt_guest::trainer!(digits::Classifier<digits::Mlp>);
