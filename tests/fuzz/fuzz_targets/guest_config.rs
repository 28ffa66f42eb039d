//! Any text as `guest.toml`: it is taken, with every group in starting order, or refused with a line that it has.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match roost_guest::config::parse(text) {
        Ok(config) => {
            for resource in config.groups.iter().flat_map(|group| group.resources.iter().enumerate()) {
                assert!(
                    resource.1.needs.iter().all(|&need| need < resource.0),
                    "what is needed stands before"
                );
                let _ = resource.1.fingerprint();
            }
        }
        Err(error) => {
            assert!(!error.mistakes().is_empty(), "a refusal says why");
            for mistake in error.mistakes() {
                assert!(mistake.line >= 1 && mistake.line <= text.lines().count().max(1) + 1, "{error}");
            }
        }
    }
});
