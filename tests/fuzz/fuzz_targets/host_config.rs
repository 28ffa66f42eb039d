//! Any text as `roost.toml`: it is taken, or refused with lines that it has.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match roost::config::parse(text) {
        Ok(config) => {
            for group in &config.groups {
                assert!(
                    group.on.iter().all(|name| config.host(name).is_ok()),
                    "groups stand on hosts that exist"
                );
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
