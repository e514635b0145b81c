//! The functions of `wasi_snapshot_preview1` and their core WebAssembly signatures.

/// A value type in the signature of a WASI function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueType {
    /// 32-bit integer, also pointers and sizes.
    I32,
    /// 64-bit integer: offsets, times, rights.
    I64,
}

macro_rules! functions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal ( $($param:ident)* ) $($result:ident)?;)*) => {
        /// A function of `wasi_snapshot_preview1`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Function { $(#[doc = concat!("`", $name, "`")] $(#[$doc])* $variant,)* }

        impl Function {
            /// Every function, in the order of the specification.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The import name within the module `wasi_snapshot_preview1`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The parameter types.
            pub const fn params(self) -> &'static [ValueType] {
                match self { $(Self::$variant => &[$(ValueType::$param,)*],)* }
            }

            /// The result type: an errno, except for `proc_exit`, which does not return.
            pub const fn result(self) -> Option<ValueType> {
                match self { $(Self::$variant => functions!(@result $($result)?),)* }
            }
        }
    };
    (@result) => { None };
    (@result $result:ident) => { Some(ValueType::$result) };
}

functions! {
    ArgsGet = "args_get"(I32 I32) I32;
    ArgsSizesGet = "args_sizes_get"(I32 I32) I32;
    EnvironGet = "environ_get"(I32 I32) I32;
    EnvironSizesGet = "environ_sizes_get"(I32 I32) I32;
    ClockResGet = "clock_res_get"(I32 I32) I32;
    ClockTimeGet = "clock_time_get"(I32 I64 I32) I32;
    FdAdvise = "fd_advise"(I32 I64 I64 I32) I32;
    FdAllocate = "fd_allocate"(I32 I64 I64) I32;
    FdClose = "fd_close"(I32) I32;
    FdDatasync = "fd_datasync"(I32) I32;
    FdFdstatGet = "fd_fdstat_get"(I32 I32) I32;
    FdFdstatSetFlags = "fd_fdstat_set_flags"(I32 I32) I32;
    FdFdstatSetRights = "fd_fdstat_set_rights"(I32 I64 I64) I32;
    FdFilestatGet = "fd_filestat_get"(I32 I32) I32;
    FdFilestatSetSize = "fd_filestat_set_size"(I32 I64) I32;
    FdFilestatSetTimes = "fd_filestat_set_times"(I32 I64 I64 I32) I32;
    FdPread = "fd_pread"(I32 I32 I32 I64 I32) I32;
    FdPrestatGet = "fd_prestat_get"(I32 I32) I32;
    FdPrestatDirName = "fd_prestat_dir_name"(I32 I32 I32) I32;
    FdPwrite = "fd_pwrite"(I32 I32 I32 I64 I32) I32;
    FdRead = "fd_read"(I32 I32 I32 I32) I32;
    FdReaddir = "fd_readdir"(I32 I32 I32 I64 I32) I32;
    FdRenumber = "fd_renumber"(I32 I32) I32;
    FdSeek = "fd_seek"(I32 I64 I32 I32) I32;
    FdSync = "fd_sync"(I32) I32;
    FdTell = "fd_tell"(I32 I32) I32;
    FdWrite = "fd_write"(I32 I32 I32 I32) I32;
    PathCreateDirectory = "path_create_directory"(I32 I32 I32) I32;
    PathFilestatGet = "path_filestat_get"(I32 I32 I32 I32 I32) I32;
    PathFilestatSetTimes = "path_filestat_set_times"(I32 I32 I32 I32 I64 I64 I32) I32;
    PathLink = "path_link"(I32 I32 I32 I32 I32 I32 I32) I32;
    PathOpen = "path_open"(I32 I32 I32 I32 I32 I64 I64 I32 I32) I32;
    PathReadlink = "path_readlink"(I32 I32 I32 I32 I32 I32) I32;
    PathRemoveDirectory = "path_remove_directory"(I32 I32 I32) I32;
    PathRename = "path_rename"(I32 I32 I32 I32 I32 I32) I32;
    PathSymlink = "path_symlink"(I32 I32 I32 I32 I32) I32;
    PathUnlinkFile = "path_unlink_file"(I32 I32 I32) I32;
    PollOneoff = "poll_oneoff"(I32 I32 I32 I32) I32;
    ProcExit = "proc_exit"(I32);
    ProcRaise = "proc_raise"(I32) I32;
    SchedYield = "sched_yield"() I32;
    RandomGet = "random_get"(I32 I32) I32;
    SockAccept = "sock_accept"(I32 I32 I32) I32;
    SockRecv = "sock_recv"(I32 I32 I32 I32 I32 I32) I32;
    SockSend = "sock_send"(I32 I32 I32 I32 I32) I32;
    SockShutdown = "sock_shutdown"(I32 I32) I32;
}

impl Function {
    /// The function imported under `name`, if the specification has one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|function| function.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_has_46_functions_and_each_is_found_by_its_name() {
        assert_eq!(Function::ALL.len(), 46);
        for &function in Function::ALL {
            assert_eq!(Function::from_name(function.name()), Some(function));
        }
        assert_eq!(Function::from_name("fd_dup"), None);
    }
}
