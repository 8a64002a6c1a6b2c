//! `COMMAND --name value ...`.

use std::collections::BTreeMap;
use std::str::FromStr;

/// What the program was called with.
#[derive(Debug)]
pub(crate) struct Arguments {
    command: String,
    values: BTreeMap<String, String>,
}

impl Arguments {
    /// Reads the words of a call.
    pub(crate) fn of(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let command = words.next().unwrap_or_default();
        let mut values = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or(format!("{word} is no option"))?;
            let value = words.next().ok_or(format!("--{name} needs a value"))?;
            values.insert(name.to_owned(), value);
        }
        Ok(Arguments { command, values })
    }

    /// The first word.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// The text of an option.
    pub(crate) fn text(&self, name: &str) -> Result<&str, String> {
        self.values.get(name).map(String::as_str).ok_or(format!("--{name} is missing"))
    }

    /// An option's value, where it was given.
    pub(crate) fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let parse = |text: &String| text.parse().map_err(|_| format!("--{name} {text}?"));
        self.values.get(name).map(parse).transpose()
    }

    /// An option's value, or what it is where it was not given.
    pub(crate) fn or<T: FromStr>(&self, name: &str, default: T) -> Result<T, String> {
        Ok(self.get(name)?.unwrap_or(default))
    }
}
