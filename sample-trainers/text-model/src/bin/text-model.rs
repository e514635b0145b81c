//! The trainer of all weights as a program.

fedmkt_guest::trainer!(text_model::WholeModel);
