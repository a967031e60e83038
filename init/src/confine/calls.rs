//! Which system calls the gateway may make (seccomp(2)).
//!
//! Generous by families, as they grew from tracing the gateway's own test runs: a call that a library's
//! next version makes must not end the gateway. Others are answered as by a kernel that has no such
//! call, so that libraries fall back to older ones.
use std::collections::BTreeMap;

use anyhow::Result;
use libc as sys;
use seccompiler::{SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// The calls, one family per line or two.
#[rustfmt::skip]
pub(super) const ALLOWED: &[i64] = &[
    // Files: open, read, write, make durable.
    sys::SYS_open, sys::SYS_openat, sys::SYS_openat2, sys::SYS_creat, sys::SYS_close, sys::SYS_close_range,
    sys::SYS_read, sys::SYS_write, sys::SYS_readv, sys::SYS_writev, sys::SYS_pread64, sys::SYS_pwrite64,
    sys::SYS_preadv, sys::SYS_pwritev, sys::SYS_preadv2, sys::SYS_pwritev2, sys::SYS_lseek,
    sys::SYS_sendfile, sys::SYS_splice, sys::SYS_copy_file_range, sys::SYS_readahead, sys::SYS_fadvise64,
    sys::SYS_fsync, sys::SYS_fdatasync, sys::SYS_sync_file_range, sys::SYS_syncfs,
    sys::SYS_truncate, sys::SYS_ftruncate, sys::SYS_fallocate, sys::SYS_flock,
    // Their names and attributes.
    sys::SYS_stat, sys::SYS_fstat, sys::SYS_lstat, sys::SYS_newfstatat, sys::SYS_statx,
    sys::SYS_statfs, sys::SYS_fstatfs, sys::SYS_access, sys::SYS_faccessat, sys::SYS_faccessat2,
    sys::SYS_readlink, sys::SYS_readlinkat, sys::SYS_getdents64, sys::SYS_getcwd, sys::SYS_chdir, sys::SYS_fchdir,
    sys::SYS_rename, sys::SYS_renameat, sys::SYS_renameat2, sys::SYS_link, sys::SYS_linkat,
    sys::SYS_symlink, sys::SYS_symlinkat, sys::SYS_unlink, sys::SYS_unlinkat,
    sys::SYS_mkdir, sys::SYS_mkdirat, sys::SYS_rmdir, sys::SYS_umask,
    sys::SYS_chmod, sys::SYS_fchmod, sys::SYS_fchmodat, sys::SYS_chown, sys::SYS_fchown, sys::SYS_fchownat, sys::SYS_lchown,
    sys::SYS_utimensat, sys::SYS_utime, sys::SYS_utimes, sys::SYS_futimesat,
    sys::SYS_getxattr, sys::SYS_fgetxattr, sys::SYS_lgetxattr, sys::SYS_listxattr, sys::SYS_flistxattr,
    sys::SYS_setxattr, sys::SYS_fsetxattr, sys::SYS_removexattr, sys::SYS_fremovexattr,
    sys::SYS_inotify_init1, sys::SYS_inotify_add_watch, sys::SYS_inotify_rm_watch,
    // Descriptors, and waiting for them.
    sys::SYS_dup, sys::SYS_dup2, sys::SYS_dup3, sys::SYS_fcntl, sys::SYS_ioctl, sys::SYS_pipe, sys::SYS_pipe2,
    sys::SYS_poll, sys::SYS_ppoll, sys::SYS_select, sys::SYS_pselect6,
    sys::SYS_epoll_create, sys::SYS_epoll_create1, sys::SYS_epoll_ctl, sys::SYS_epoll_wait, sys::SYS_epoll_pwait, sys::SYS_epoll_pwait2,
    sys::SYS_eventfd, sys::SYS_eventfd2, sys::SYS_signalfd4, sys::SYS_memfd_create,
    sys::SYS_timerfd_create, sys::SYS_timerfd_settime, sys::SYS_timerfd_gettime,
    // The network.
    sys::SYS_socket, sys::SYS_socketpair, sys::SYS_bind, sys::SYS_listen, sys::SYS_accept, sys::SYS_accept4, sys::SYS_connect,
    sys::SYS_getsockname, sys::SYS_getpeername, sys::SYS_getsockopt, sys::SYS_setsockopt, sys::SYS_shutdown,
    sys::SYS_sendto, sys::SYS_recvfrom, sys::SYS_sendmsg, sys::SYS_recvmsg, sys::SYS_sendmmsg, sys::SYS_recvmmsg,
    // Memory.
    sys::SYS_brk, sys::SYS_mmap, sys::SYS_munmap, sys::SYS_mremap, sys::SYS_mprotect, sys::SYS_madvise,
    sys::SYS_msync, sys::SYS_mincore, sys::SYS_mlock, sys::SYS_mlock2, sys::SYS_munlock, sys::SYS_membarrier,
    // Threads, and becoming the gateway. No other program is there to run, but execve is how it begins.
    sys::SYS_execve, sys::SYS_clone, sys::SYS_clone3, sys::SYS_fork, sys::SYS_vfork, sys::SYS_exit, sys::SYS_exit_group,
    sys::SYS_wait4, sys::SYS_waitid, sys::SYS_pidfd_open,
    sys::SYS_futex, sys::SYS_futex_waitv, sys::SYS_set_robust_list, sys::SYS_get_robust_list, sys::SYS_rseq,
    sys::SYS_set_tid_address, sys::SYS_gettid, sys::SYS_arch_prctl, sys::SYS_prctl,
    sys::SYS_sched_yield, sys::SYS_sched_getaffinity, sys::SYS_sched_setaffinity, sys::SYS_sched_getparam,
    sys::SYS_sched_getscheduler, sys::SYS_getpriority, sys::SYS_setpriority, sys::SYS_getcpu,
    // Signals.
    sys::SYS_rt_sigaction, sys::SYS_rt_sigprocmask, sys::SYS_rt_sigreturn, sys::SYS_rt_sigpending,
    sys::SYS_rt_sigtimedwait, sys::SYS_rt_sigsuspend, sys::SYS_sigaltstack, sys::SYS_pause, sys::SYS_restart_syscall,
    sys::SYS_kill, sys::SYS_tkill, sys::SYS_tgkill,
    // Time.
    sys::SYS_clock_gettime, sys::SYS_clock_getres, sys::SYS_clock_nanosleep, sys::SYS_nanosleep, sys::SYS_gettimeofday,
    sys::SYS_time, sys::SYS_times, sys::SYS_alarm, sys::SYS_setitimer, sys::SYS_getitimer,
    // Who and where it is, and chance.
    sys::SYS_getpid, sys::SYS_getppid, sys::SYS_getuid, sys::SYS_geteuid, sys::SYS_getgid, sys::SYS_getegid,
    sys::SYS_getgroups, sys::SYS_getresuid, sys::SYS_getresgid, sys::SYS_getpgrp, sys::SYS_getpgid, sys::SYS_getsid,
    sys::SYS_capget, sys::SYS_uname, sys::SYS_sysinfo, sys::SYS_getrusage, sys::SYS_getrlimit, sys::SYS_setrlimit,
    sys::SYS_prlimit64, sys::SYS_getrandom,
];

/// Filters the calls of this process and of what it becomes.
pub(super) fn filter() -> Result<()> {
    let rules: BTreeMap<i64, Vec<_>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(rules, unknown, SeccompAction::Allow, TargetArch::x86_64)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    Ok(apply_filter(&program)?)
}
