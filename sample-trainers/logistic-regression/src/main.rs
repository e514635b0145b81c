//! The trainer as a program.

fedmkt_guest::trainer!(logistic_regression::LogisticRegression);
