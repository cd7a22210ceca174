//! What the allocator does with freed memory, and how large the kernel's pages are.

/// Number of mimalloc's option for how long it keeps freed memory, in milliseconds; -1 is forever.
/// The bindings have no name for it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Tells mimalloc to keep freed memory instead of handing it back to the kernel.
///
/// A training step frees and takes the same activations again; pages that went back in between
/// are cleared and mapped anew, which took a twentieth of the step. Memory in use is at its peak
/// from the first step on either way. Without mimalloc as the allocator this does nothing.
pub fn keep_freed_memory() {
    // SAFETY: sets a number inside mimalloc, which is linked in whether or not it allocates.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

/// Asks the kernel for pages of 4 KB from now on, where it would give 2 MB: a server that holds
/// 150 MB takes 30 MB less that way and answers 1 to 2 % later. On Linux; elsewhere this does
/// nothing, and neither does a kernel that refuses.
pub fn use_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn small_pages_are_asked_for() {
        use_small_pages();
        // A kernel without huge pages may not know the question.
        assert!(rustix::thread::transparent_huge_pages_are_disabled().unwrap_or(true));
    }

    #[test]
    fn the_option_is_the_delay() {
        let get = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert!([10, 1000].contains(&get()), "mimalloc's default in milliseconds, not {}", get());
        keep_freed_memory();
        assert_eq!(get(), -1);
    }
}
