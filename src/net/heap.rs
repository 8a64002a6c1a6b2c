//! The heap of a process that is a server and does nothing else.

/// Has the heap of this process grow in pages of 2 MiB, where the system has them, its C library is glibc, and
/// nobody has tuned or bounded either; what is freed stays with the process. To be called once, before a node is
/// started.
///
/// A server that gets a million names needs 100 MiB at once. In pages of 4 KiB, each asked for and cleared on
/// its own, a joiner computed 1.7 to 2 times as long, and a join took 1.4 to 1.8 times as long; a write with
/// three copies at 50 clients took 3 % longer (medians, measured in turns).
pub fn use_large_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
    glibc::use_large_pages();
}

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod glibc {
    use std::env;
    use std::ffi::c_int;
    use std::fs;

    /// How much of the heap there is in large pages: as much address space is taken, and memory as it is used.
    /// Less where the system does not give that.
    const HEAP_BYTES: [usize; 3] = [4 << 30, 1 << 30, 1 << 28];

    /// How large a large page is. Where it is larger, the first use of one would take more memory than most
    /// servers need.
    const PAGE_BYTES: usize = 2 * 1024 * 1024;

    /// From how many bytes on a block gets memory of its own, once [`HEAP_BYTES`] are used: glibc's highest.
    const OWN_BYTES_MIN: c_int = 32 * 1024 * 1024;

    /// How many such blocks there may be: glibc's default.
    const OWN_BLOCKS_MAX: c_int = 65_536;

    /// glibc has no setting for this but for an environment variable that is read when a process begins
    /// (`glibc.malloc.hugetlb`). But what the heap has once is where it takes from next: a large block is taken,
    /// the system told to give it large pages, and given free, untouched.
    #[allow(unsafe_code)]
    pub(super) fn use_large_pages() {
        if is_tuned() || is_bounded() || !has_large_pages() {
            return;
        }
        // SAFETY: `mallopt` takes any numbers, and locks what it changes. `madvise` is about whole pages inside of
        // a block that is ours until it is freed, and changes nothing of what they contain.
        unsafe {
            // A heap for each thread grows by single pages of 4 KiB, with a system call for each: a seventh of what
            // a joiner computed.
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_BYTES_MIN);
            libc::mallopt(libc::M_MMAP_MAX, 0);
            let mut blocks = HEAP_BYTES.iter().map(|bytes| (libc::malloc(*bytes), *bytes));
            let block = blocks.find(|(block, _)| !block.is_null());
            libc::mallopt(libc::M_MMAP_MAX, OWN_BLOCKS_MAX);
            let Some((block, bytes)) = block else { return };
            let inside = block.align_offset(PAGE_BYTES);
            let pages = bytes.saturating_sub(inside) / PAGE_BYTES * PAGE_BYTES;
            libc::madvise(block.byte_add(inside), pages, libc::MADV_HUGEPAGE);
            libc::free(block);
        }
    }

    /// Whether somebody has told glibc how to keep its heap: that stays so.
    fn is_tuned() -> bool {
        let tunables = env::var_os("GLIBC_TUNABLES").unwrap_or_default();
        tunables.to_string_lossy().contains("malloc")
            || env::vars_os().any(|(name, _)| name.as_encoded_bytes().starts_with(b"MALLOC_"))
    }

    /// Whether address space counts like memory: it is bounded for this process, or for all together.
    #[allow(unsafe_code)]
    fn is_bounded() -> bool {
        let bounded = |what| {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: writes the limit, which lives until it returns.
            let told = unsafe { libc::getrlimit(what, &raw mut limit) };
            told != 0 || limit.rlim_cur != libc::RLIM_INFINITY
        };
        let strict =
            fs::read("/proc/sys/vm/overcommit_memory").is_ok_and(|how| how.starts_with(b"2"));
        strict || bounded(libc::RLIMIT_AS) || bounded(libc::RLIMIT_DATA)
    }

    fn has_large_pages() -> bool {
        let size = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
        size.is_ok_and(|size| size.trim().parse() == Ok(PAGE_BYTES))
    }
}
