//! The second wall: what is left to a process in which a stranger's code runs.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::protocol::Walls;
use crate::engine::STACK_BYTES;
use crate::written_pages::WrittenPages;

/// The most bytes of a file that a worker may write to: above every state image and every compiled module.
const FILE_BYTES: u64 = 1 << 30;

/// Addresses beside those of the memory that it may write: those that are set apart for a guest's memory, twice when one run follows
/// another, drives and code. The tables for them take a five-hundredth.
const ADDRESS_BYTES: u64 = 16 << 30;

/// Descriptors: the channel, standard streams, and a few files at a time.
const DESCRIPTORS: u64 = 32;

/// What a worker may ask of the kernel: to use memory and the descriptors that it was handed, to wait, and to end.
const SYSTEM_CALLS: &[libc::c_long] = &[
    // The channel, and files that came through it.
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_close,
    // Memory, mapped as `seccomp` allows; compiled code is made executable.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Traps of the guest arrive as signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Locks, keys of hash maps, the moment after which a reply is due.
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_membarrier,
    libc::SYS_gettid,
    libc::SYS_getpid,
    // The end.
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Locks the present thread in as a worker is, for ever, and all that it starts. To be called before anything foreign is
/// read. Limits of memory (`data_bytes`) and files hold for the whole process, whose descriptors but the standard ones are
/// closed. If it `counts_pages`, it gets an account of those that it writes, which could not be begun any more later.
///
/// # Errors
/// When a mechanism that every Linux has fails. Those that are missing are told in the answer.
pub fn lock_in(data_bytes: u64, counts_pages: bool) -> io::Result<(Walls, Option<WrittenPages>)> {
    // What one thread has open while it locks itself in, another one would close.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    close_descriptors()?;
    // Before the next call, after which only root opens what tells about the memory of this process.
    let written = if counts_pages { WrittenPages::open() } else { None };
    // Nobody but root may look into the memory of this process, and no core of it is written.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    let limits = [
        (Resource::Core, 0),
        (Resource::Nofile, DESCRIPTORS),
        (Resource::Fsize, FILE_BYTES),
        (Resource::Data, data_bytes),
        (Resource::As, data_bytes + ADDRESS_BYTES),
        (Resource::Stack, STACK_BYTES as u64 + (16 << 20)),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ];
    for (resource, most) in limits {
        // What the system already limits further stays so.
        let most = rustix::process::getrlimit(resource).maximum.map_or(most, |maximum| most.min(maximum));
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    let walls = Walls { landlock: landlock().unwrap_or(false), seccomp: seccomp(written.as_ref()).is_ok() };
    Ok((walls, written))
}

/// Closes all descriptors above the standard ones.
fn close_descriptors() -> io::Result<()> {
    // SAFETY: nothing in this process uses one yet.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } == 0 {
        return Ok(());
    }
    // Linux before 5.9. The folder's own descriptor is closed by then.
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&descriptor| descriptor > 2)
        .collect();
    for descriptor in open {
        // SAFETY: as above.
        unsafe { libc::close(descriptor) };
    }
    Ok(())
}

fn landlock() -> Result<bool, landlock::RulesetError> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V6))?
        .handle_access(AccessNet::from_all(ABI::V6))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .restrict_self()?;
    // Older kernels lack the rules for networks and signals, which seccomp has as well.
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn seccomp(written: Option<&WrittenPages>) -> Result<(), Box<dyn std::error::Error>> {
    let mut allowed: BTreeMap<i64, Vec<_>> = SYSTEM_CALLS.iter().map(|&call| (call, Vec::new())).collect();
    // Rust's debug builds look whether a descriptor is open before they close it. Nothing else of `fcntl`.
    let equals = |argument, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    allowed.insert(libc::SYS_fcntl, vec![SeccompRule::new(vec![equals(1, libc::F_GETFD as u64)?])?]);
    // `abort` signals itself. Older kernels lack Landlock's rule for signals.
    allowed.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![equals(0, std::process::id().into())?])?]);
    // The limit of memory counts private mappings that do not grow by themselves, and no others.
    let kinds = (libc::MAP_TYPE | libc::MAP_GROWSDOWN | libc::MAP_HUGETLB) as u64;
    let private = SeccompCmpOp::MaskedEq(kinds);
    let private = SeccompCondition::new(3, SeccompCmpArgLen::Dword, private, libc::MAP_PRIVATE as u64)?;
    allowed.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![private])?]);
    // Which pages were written, and nothing else of what these descriptors could do.
    for (descriptor, request) in written.iter().flat_map(|written| written.requests()) {
        let rule = SeccompRule::new(vec![equals(0, descriptor as u64)?, equals(1, u64::from(request))?])?;
        allowed.entry(libc::SYS_ioctl).or_default().push(rule);
    }
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(allowed, SeccompAction::KillProcess, SeccompAction::Allow, arch)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}
