//! `artifacts:reports:dotenv`: variables that a job makes for those behind it.

use super::Document;
use crate::config::variable_name;

/// Largest file, in bytes.
pub const BYTES: usize = 5 * 1024;
/// Most variables of one job.
pub const VARIABLES: usize = 50;

/// Names and values in their order; a name given twice has its last value.
///
/// # Errors
/// A line is none of `NAME=value`, or there is more than is allowed.
pub fn read(documents: &[Document]) -> Result<Vec<(String, String)>, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    for document in documents {
        if document.bytes.len() > BYTES {
            return Err(format!(
                "it is larger than {BYTES} bytes; pass files on as artifacts"
            ));
        }
        let text = std::str::from_utf8(&document.bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = at + 1;
            let Some((name, value)) = line.split_once('=') else {
                return Err(format!("line {number} is no `NAME=value`"));
            };
            let name = name.trim_start_matches("export ").trim();
            if !variable_name(name) {
                return Err(format!(
                    "line {number}: a name holds letters, digits and `_`, and does not begin with a digit"
                ));
            }
            // What opens doors is the platform's own to give.
            if ["CI_JOB_TOKEN", "CI_REPOSITORY_URL"].contains(&name) {
                return Err(format!("line {number}: `{name}` is given by the platform alone"));
            }
            let value = unquoted(value.trim()).to_owned();
            if value.contains('\0') {
                return Err(format!("line {number} holds a null byte"));
            }
            found.retain(|(known, _)| known != name);
            found.push((name.to_owned(), value));
            if found.len() > VARIABLES {
                return Err(format!("it names more than {VARIABLES} variables"));
            }
        }
    }
    Ok(found)
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str) -> Result<Vec<(String, String)>, String> {
        read(&[Document {
            name: String::new(),
            bytes: text.as_bytes().to_vec(),
        }])
    }

    #[test]
    fn lines_become_variables() {
        let found = all("# made by build\nVERSION=1.2\n\nexport NAME = \"two words\"\nURL='http://x/?a=b'\nVERSION=1.3\r\nEMPTY=\n").unwrap();
        let pairs: Vec<(&str, &str)> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("NAME", "two words"),
                ("URL", "http://x/?a=b"),
                ("VERSION", "1.3"),
                ("EMPTY", "")
            ]
        );
    }

    #[test]
    fn refusals_name_the_line_or_the_limit() {
        for (text, why) in [
            ("A=1\nnothing", "line 2"),
            ("1A=x", "does not begin with a digit"),
            ("CI_JOB_TOKEN=x", "by the platform alone"),
            ("A B=x", "letters, digits"),
        ] {
            assert!(all(text).unwrap_err().contains(why), "{text}");
        }
        let many: String = (0..=VARIABLES).map(|n| format!("V{n}=1\n")).collect();
        assert!(all(&many).unwrap_err().contains("50 variables"));
        assert!(all(&"x".repeat(BYTES + 1)).unwrap_err().contains("5120 bytes"));
    }

    proptest! {
        #[test]
        fn whatever_is_read_has_names_that_a_shell_takes(text in "(?s)[A-Z_=\\n'\"# a\\PC]{0,200}") {
            for (name, value) in all(&text).unwrap_or_default() {
                prop_assert!(variable_name(&name));
                prop_assert!(!value.contains('\n'));
            }
        }
    }
}
