//! What two files have in common when they say the same: a number over keys and values, whatever the writing.

use roost_proto::cluster::fnv1a;
use toml::de::{DeTable, DeValue};

/// The number of a file. It is taken from the document and not from [`super::Config`], so that two versions of Roost with
/// other defaults, or further keys, still have the same number for the same file.
pub(super) fn number(document: &DeTable<'_>) -> u32 {
    let mut form = Vec::new();
    table(document, &mut form);
    fnv1a(&form)
}

fn table(values: &DeTable<'_>, form: &mut Vec<u8>) {
    let mut keys: Vec<_> = values.iter().map(|(key, value)| (key.get_ref().as_ref(), value)).collect();
    keys.sort_by_key(|(key, _)| *key);
    counted(b't', keys.len(), form);
    for (key, item) in keys {
        text(b'k', key, form);
        value(item.get_ref(), form);
    }
}

fn value(of: &DeValue<'_>, form: &mut Vec<u8>) {
    match of {
        DeValue::String(given) => text(b's', given, form),
        DeValue::Integer(given) => match i128::from_str_radix(given.as_str(), given.radix()) {
            Ok(number) => text(b'i', &number.to_string(), form),
            Err(_) => text(b'i', given.as_str(), form),
        },
        DeValue::Float(given) => text(b'f', given.as_str(), form),
        DeValue::Boolean(given) => text(b'b', if *given { "true" } else { "false" }, form),
        DeValue::Datetime(given) => text(b'd', &given.to_string(), form),
        DeValue::Array(given) => {
            counted(b'a', given.len(), form);
            for item in given.iter() {
                value(item.get_ref(), form);
            }
        }
        DeValue::Table(given) => table(given, form),
    }
}

/// With its length before it, so that no text can look like the end of one and the start of another.
fn text(kind: u8, given: &str, form: &mut Vec<u8>) {
    counted(kind, given.len(), form);
    form.extend_from_slice(given.as_bytes());
}

fn counted(kind: u8, length: usize, form: &mut Vec<u8>) {
    form.push(kind);
    form.extend_from_slice(&(length as u64).to_be_bytes());
}
