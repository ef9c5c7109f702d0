//! Reads tables field by field, so that one wrong field does not hide the next.

use crate::mistake::{Caution, ConfigError, ConfigWarning, Mistake};
use crate::nearest::nearest;
use std::collections::HashMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A field of [`crate::raw::Raw`]. A broken one has been reported, so what follows from it need not be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Field<T> {
    /// Not in the file.
    #[default]
    Missing,
    /// In the file, and wrong.
    Broken,
    /// In the file.
    Given(T),
}

impl<T> Field<T> {
    /// The value, or `default` where the file has none; `None` where it is wrong.
    pub(crate) fn or(self, default: T) -> Option<T> {
        match self {
            Self::Missing => Some(default),
            Self::Broken => None,
            Self::Given(value) => Some(value),
        }
    }

    /// The value, if there is a good one.
    pub(crate) fn given(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Missing | Self::Broken => None,
        }
    }

    /// Whether the file says nothing.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

/// What has been found so far, and where each path stands in the file.
#[derive(Default)]
pub(crate) struct Findings {
    line_starts: Vec<usize>,
    places: HashMap<String, u32>,
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) warnings: Vec<ConfigWarning>,
}

impl Findings {
    pub(crate) fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { line_starts: core::iter::once(0).chain(ends).collect(), ..Self::default() }
    }

    /// Reports a mistake at `path`.
    pub(crate) fn error(&mut self, path: impl Into<String>, mistake: Mistake) {
        let path = path.into();
        let line = self.line_of(&path);
        self.errors.push(ConfigError { path, line, mistake });
    }

    /// Reports a mistake of the parser.
    pub(crate) fn syntax(&mut self, offset: usize, message: &str) {
        let line = self.line_at(offset);
        let mistake = Mistake::Syntax { message: message.to_owned() };
        self.errors.push(ConfigError { path: String::new(), line, mistake });
    }

    /// Reports what should be known about `path`.
    pub(crate) fn warning(&mut self, path: impl Into<String>, caution: Caution) {
        let path = path.into();
        let line = self.line_of(&path);
        self.warnings.push(ConfigWarning { path, line, caution });
    }

    fn place(&mut self, path: &str, offset: usize) {
        let line = self.line_at(offset);
        self.places.insert(path.to_owned(), line);
    }

    fn line_at(&self, offset: usize) -> u32 {
        self.line_starts.partition_point(|start| *start <= offset) as u32
    }

    /// The line of `path`, or of the nearest table around it.
    fn line_of(&self, path: &str) -> u32 {
        let mut path = path;
        loop {
            if let Some(line) = self.places.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(at) => path = &path[..at],
                None => return 0,
            }
        }
    }
}

/// One table of the file while it is read. What has not been asked for when it is closed is unknown.
pub(crate) struct Fields<'f, 't> {
    pub(crate) findings: &'f mut Findings,
    pub(crate) path: String,
    table: &'t DeTable<'t>,
    asked: Vec<&'static str>,
    /// What must be there and is not, with a line to add.
    missing: Vec<(&'static str, &'static str)>,
}

impl<'f, 't> Fields<'f, 't> {
    /// The whole file.
    pub(crate) fn root(findings: &'f mut Findings, table: &'t DeTable<'t>) -> Self {
        Self { findings, path: String::new(), table, asked: Vec::new(), missing: Vec::new() }
    }

    /// A value that should be a table; reported if it is none.
    pub(crate) fn open(
        findings: &'f mut Findings,
        path: String,
        value: &'t Spanned<DeValue<'t>>,
    ) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(Self { findings, path, table, asked: Vec::new(), missing: Vec::new() })
            }
            other => {
                let found = described(other);
                findings.error(path, Mistake::WrongType { found, expected: "a table" });
                None
            }
        }
    }

    /// The path of one of the table's fields.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports a mistake in a field.
    pub(crate) fn error(&mut self, key: &str, mistake: Mistake) {
        let path = self.path_of(key);
        self.findings.error(path, mistake);
    }

    /// A field as it stands.
    pub(crate) fn value(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        let (name, value) = self.table.get_key_value(key)?;
        let path = self.path_of(key);
        self.findings.place(&path, name.span().start);
        Some(value)
    }

    /// A field, read by `read`.
    pub(crate) fn field<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'t DeValue<'t>) -> Result<T, Mistake>,
    ) -> Field<T> {
        match self.value(key).map(|value| read(value.get_ref())) {
            None => Field::Missing,
            Some(Ok(value)) => Field::Given(value),
            Some(Err(mistake)) => {
                self.error(key, mistake);
                Field::Broken
            }
        }
    }

    /// A field that must be there.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        example: &'static str,
        read: impl FnOnce(&'t DeValue<'t>) -> Result<T, Mistake>,
    ) -> Field<T> {
        match self.field(key, read) {
            Field::Missing => {
                self.missing.push((key, example));
                Field::Broken
            }
            field => field,
        }
    }

    /// The elements of a list. A wrong element is reported and left out, `index` is its place.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        mut read: impl FnMut(&mut Findings, &str, &'t Spanned<DeValue<'t>>) -> Option<T>,
    ) -> Field<Vec<Element<T>>> {
        let Some(value) = self.value(key) else { return Field::Missing };
        let path = self.path_of(key);
        let DeValue::Array(array) = value.get_ref() else {
            let found = described(value.get_ref());
            self.findings.error(path, Mistake::WrongType { found, expected });
            return Field::Broken;
        };
        let mut elements = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.findings.place(&path, element.span().start);
            if let Some(value) = read(self.findings, &path, element) {
                elements.push(Element { path, value });
            }
        }
        Field::Given(elements)
    }

    /// A table of named tables, in the file's order. A name that cannot be used is reported; what it
    /// names is read all the same.
    pub(crate) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(Fields<'_, 't>) -> T,
    ) -> Vec<(String, Option<T>)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let path = self.path_of(key);
        let Some(outer) = Fields::open(self.findings, path, value) else { return Vec::new() };
        let mut tables = Vec::new();
        for (name, value) in outer.table {
            let path = outer.path_of(name.get_ref());
            outer.findings.place(&path, name.span().start);
            if !is_name(name.get_ref()) {
                outer.findings.error(&path, Mistake::BadName { name: name.get_ref().to_string() });
            }
            let table = Fields::open(outer.findings, path, value).map(&mut read);
            tables.push((name.get_ref().to_string(), table));
        }
        tables
    }

    /// Reports what nobody asked for, and what is missing unless that is how it was meant.
    pub(crate) fn close(mut self) {
        for (name, _) in self.table {
            let key: &str = name.get_ref();
            if self.asked.contains(&key) {
                continue;
            }
            let path = self.path_of(key);
            self.findings.place(&path, name.span().start);
            let nearest = nearest(key, self.asked.iter().copied());
            self.missing.retain(|(missing, _)| nearest != Some(missing));
            let mistake = Mistake::UnknownKey {
                key: key.to_owned(),
                nearest: nearest.map(str::to_owned),
                known: self.asked.clone(),
            };
            self.findings.error(path, mistake);
        }
        for (key, example) in self.missing {
            self.findings.error(self.path.as_str(), Mistake::Missing { key, example });
        }
    }
}

/// An element of a list, with its path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Element<T> {
    pub(crate) path: String,
    pub(crate) value: T,
}

/// Whether a name can stand in a path, in a table and in a file name.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// A text.
pub(crate) fn text(value: &DeValue<'_>) -> Result<String, Mistake> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(Mistake::WrongType { found: described(other), expected: "a text in quotes" }),
    }
}

/// `true` or `false`.
pub(crate) fn boolean(value: &DeValue<'_>) -> Result<bool, Mistake> {
    match value {
        DeValue::Boolean(boolean) => Ok(*boolean),
        other => Err(Mistake::WrongType { found: described(other), expected: "true or false" }),
    }
}

/// A number within `min..=max`, which must fit the type.
pub(crate) fn number<T: TryFrom<i64>>(
    min: i64,
    max: i64,
) -> impl Fn(&DeValue<'_>) -> Result<T, Mistake> + Copy {
    move |value| {
        let DeValue::Integer(integer) = value else {
            return Err(Mistake::WrongType { found: described(value), expected: "a whole number" });
        };
        i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| (min..=max).contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| Mistake::OutOfRange { value: integer.as_str().to_owned(), min, max })
    }
}

/// One of some words.
pub(crate) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Result<T, Mistake> + Copy {
    move |value| {
        let text = text(value)?;
        words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
            Mistake::NotOneOf { value: text, choices: words.iter().map(|(word, _)| *word).collect() }
        })
    }
}

/// What a value is, in words.
pub(crate) fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
