//! As much of XML as it takes to find one value in a domain's description: no tree, no namespaces, no entities but
//! XML's own. What it does not understand it does not find.

/// Elements in one another, at most; libvirt's own descriptions have seven.
const MAX_DEPTH: usize = 64;

/// The CID of a live domain's vsock device (`/domain/devices/vsock/cid/@address`).
pub fn vsock_cid(xml: &str) -> Option<u32> {
    find(xml, &["domain", "devices", "vsock", "cid"], |element| {
        element.attribute("address").and_then(|value| value.parse().ok())
    })
}

/// The name in a domain's description (`/domain/name`).
pub fn domain_name(xml: &str) -> Option<String> {
    find(xml, &["domain", "name"], |element| unescape(element.text()))
}

/// An element's start tag, and what follows it.
struct Element<'a> {
    attributes: &'a str,
    rest: &'a str,
}

impl<'a> Element<'a> {
    fn attribute(&self, name: &str) -> Option<&'a str> {
        let mut rest = self.attributes;
        loop {
            let (key, after) = rest.split_once('=')?;
            let after = after.trim_start();
            let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let (value, after) = after[1..].split_once(quote)?;
            if key.trim() == name {
                return Some(value);
            }
            rest = after;
        }
    }

    /// The text up to the next tag.
    fn text(&self) -> &'a str {
        self.rest.split('<').next().unwrap_or_default()
    }
}

/// What `read` makes of the first element at `path` of which it makes something.
fn find<T>(xml: &str, path: &[&str], read: impl Fn(&Element<'_>) -> Option<T>) -> Option<T> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    loop {
        rest = rest.split_once('<')?.1;
        if let Some(after) = rest.strip_prefix("!--") {
            rest = after.split_once("-->")?.1;
        } else if let Some(after) = rest.strip_prefix("![CDATA[") {
            rest = after.split_once("]]>")?.1;
        } else if let Some(after) = rest.strip_prefix('?') {
            rest = after.split_once("?>")?.1;
        } else if rest.starts_with('!') {
            return None; // a document type: libvirt writes none, and it could define entities
        } else if let Some(after) = rest.strip_prefix('/') {
            let (name, after) = after.split_once('>')?;
            if open.pop() != Some(name.trim_end()) {
                return None;
            }
            rest = after;
        } else {
            let (tag, after) = split_tag(rest)?;
            let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let (name, attributes) = tag.split_at(tag.find(char::is_whitespace).unwrap_or(tag.len()));
            open.push(name);
            if open == path {
                let found = read(&Element { attributes, rest: if empty { "" } else { after } });
                if found.is_some() {
                    return found;
                }
            }
            if empty {
                open.pop();
            } else if open.len() > MAX_DEPTH {
                return None;
            }
            rest = after;
        }
    }
}

/// Splits at the `>` that ends a tag; one in a quoted value does not.
fn split_tag(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (index, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return Some((&text[..index], &text[index + 1..])),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

/// `text` with XML's five entities read; none if there is another one, or a number.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut rest = text.trim();
    while let Some((before, after)) = rest.split_once('&') {
        let (entity, after) = after.split_once(';')?;
        plain.push_str(before);
        plain.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => return None,
        });
        rest = after;
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIVE: &str = "<?xml version='1.0'?>
<!-- <domain><devices><vsock><cid address='1'/></vsock></devices></domain> -->
<domain type='kvm' id='7'>
  <name>web &amp; \"one\"</name>
  <metadata><x:y xmlns:x='urn:x'><vsock><cid address='2'/></vsock></x:y></metadata>
  <description><![CDATA[<vsock><cid address='3'/></vsock>]]> a > b</description>
  <devices>
    <disk type='file' note='a>b'><source file='/x'/></disk>
    <vsock model='virtio'>
      <cid auto=\"yes\" address = '4294967294'/>
      <address type='pci' slot='0x06'/>
    </vsock>
  </devices>
</domain>";

    #[test]
    fn the_cid_is_found_in_its_place_alone() {
        assert_eq!(vsock_cid(LIVE), Some(4_294_967_294));
        assert_eq!(domain_name(LIVE).as_deref(), Some("web & \"one\""));
        assert_eq!(domain_name("<domain note='/>'><name>a</name></domain>").as_deref(), Some("a"));
    }

    #[test]
    fn a_domain_without_one_has_none() {
        assert_eq!(vsock_cid("<domain><devices/></domain>"), None);
        assert_eq!(vsock_cid("<domain><devices><vsock><cid auto='yes'/></vsock></devices></domain>"), None);
        assert_eq!(
            vsock_cid("<domain><devices><vsock><cid address='many'/></vsock></devices></domain>"),
            None
        );
        assert_eq!(vsock_cid("<domain><vsock><cid address='5'/></vsock></domain>"), None);
        assert_eq!(domain_name("<domain><os><name>a</name></os></domain>"), None);
    }

    #[test]
    fn what_is_not_understood_is_not_found() {
        assert_eq!(domain_name("<!DOCTYPE domain [<!ENTITY a 'b'>]><domain><name>&a;</name></domain>"), None);
        assert_eq!(domain_name("<domain><name>&#65;</name></domain>"), None);
        assert_eq!(domain_name("<!DOCTYPE domain><domain><name>a</name></domain>"), None);
        assert_eq!(domain_name("<domain><b></c><name>a</name></domain>"), None);
        assert_eq!(domain_name("<domain><name"), None);
        let nested =
            |depth| format!("<domain>{}{}<name>a</name></domain>", "<a>".repeat(depth), "</a>".repeat(depth));
        assert_eq!(domain_name(&nested(MAX_DEPTH - 1)).as_deref(), Some("a"));
        assert_eq!(domain_name(&nested(MAX_DEPTH)), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[<>/!?'\"=a-z& ;\\[\\]ä-]{0,80}") {
            vsock_cid(&text);
            domain_name(&text);
        }
    }
}
