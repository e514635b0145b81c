//! Systems that lack a wall. The kernel is made to say that it has none.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::support::{self, Client, Done, agreed};

/// The command on a system that answers so to these calls.
fn without(mut command: Command, calls: &[(libc::c_long, Option<u64>)], errno: i32) -> Command {
    let rule = |argument: &Option<u64>| {
        let condition = |value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
        let rule = |value| SeccompRule::new(vec![condition(value).expect("a condition")]).expect("a rule");
        argument.map(rule).into_iter().collect()
    };
    let rules: BTreeMap<i64, Vec<SeccompRule>> = calls.iter().map(|(call, argument)| (*call, rule(argument))).collect();
    let arch = std::env::consts::ARCH.try_into().expect("an architecture that has filters");
    let action = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    // SAFETY: the program was made before; what remains are system calls.
    unsafe { command.pre_exec(move || seccompiler::apply_filter(&program).map_err(std::io::Error::other)) };
    command
}

fn no_landlock(command: Command) -> Command {
    without(command, &[(libc::SYS_landlock_create_ruleset, None)], libc::ENOSYS)
}

/// `prctl(PR_SET_SECCOMP)` and `seccomp` are the two ways to it.
fn no_seccomp(command: Command) -> Command {
    let calls = [(libc::SYS_seccomp, None), (libc::SYS_prctl, Some(libc::PR_SET_SECCOMP as u64))];
    without(command, &calls, libc::EINVAL)
}

fn run(mut command: Command) -> Done {
    Done::of(command.output().expect("starts"))
}

#[test]
fn a_missing_wall_is_noticed_and_refused_when_isolation_is_required() {
    let client = Client::new();
    let job = client.publish(&support::trainer(), |_| {}).to_string();
    let isolated = || {
        let mut command = client.command(&job);
        command.arg("--require-isolation");
        command
    };
    type Lacking = fn(Command) -> Command;
    let cases: [(&str, Lacking); 3] = [
        ("no Landlock", no_landlock),
        ("no seccomp", no_seccomp),
        ("no seccomp and Landlock", |command| no_seccomp(no_landlock(command))),
    ];
    for (says, lacking) in cases {
        let refused = run(lacking(isolated()));
        assert_eq!(refused.code, Some(7), "{}", refused.stderr);
        assert!(refused.stderr.contains(&format!("this system has {says}")), "{}", refused.stderr);
        assert_eq!(refused.json, None);
        // The trainer was not even compiled.
        assert!(support::find(&client.home().join("modules"), ".code").is_empty());
    }
    for (says, lacking) in cases {
        let noticed = run(lacking(client.command(&job)));
        assert!(noticed.stderr.contains(&format!("Notice: this system has {says}")), "{}", noticed.stderr);
        noticed.object(0);
    }
    let whole = run(isolated());
    if whole.code == Some(7) && whole.stderr.contains("this system has no") {
        println!("SKIPPED: this system lacks a wall itself: {}", whole.stderr);
        return;
    }
    assert!(!whole.stderr.contains("Notice: this system has no"), "{}", whole.stderr);
    let with_walls = agreed(&whole.object(0));
    assert_eq!(with_walls, agreed(&run(no_landlock(client.command(&job))).object(0)), "walls change no result");
}
