//! The trainer of adapters as a program.

fedmkt_guest::trainer!(text_model::Adapters);
