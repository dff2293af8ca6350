//! Work that keeps a thread busy: it must not hold up the thread's other tasks.

/// Bodies from this size on are read and written beside the other work of their thread, not before it.
pub(crate) const LARGE_BYTES: usize = 256 << 10;

/// Runs work on so many bytes: if they are many, without holding up the thread's other tasks.
pub(crate) fn apart<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    apart_if(bytes >= LARGE_BYTES, work)
}

/// Runs work that keeps the thread busy for a while without holding up the thread's other tasks.
pub(crate) fn apart_if<T>(large: bool, work: impl FnOnce() -> T) -> T {
    if large {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}
