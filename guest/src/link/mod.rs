//! The link to the host: [`machine`] decides, [`wire`] moves bytes. Whatever happens to the link, no application notices.

pub mod key;
pub mod machine;
pub mod wire;
