//! The trainer as a program.

fedmkt_guest::trainer!(gradient_boosting::GradientBoosting);
