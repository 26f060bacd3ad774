//! Renders a Jekyll source in this process: front matter, nested layouts, includes with parameters, `site.data`.
//!
//! Pages name their own `permalink`; files without front matter are copied. What begins with `_` is not a page.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use liquid::model::{KString, Value};
use liquid::partials::{EagerCompiler, InMemorySource};
use liquid::{Parser, ParserBuilder, Template, ValueView};

use super::{SiteError, Source};

/// How many layouts may lie around one page.
const MAX_LAYOUTS: usize = 8;

/// Renders every page and copies every other file.
pub fn render(source: &Source) -> Result<BTreeMap<String, Bytes>, SiteError> {
    let parser = parser(source)?;
    let layouts = layouts(source, &parser)?;
    let site = site_value(source)?;
    let sources: Vec<(&String, &Bytes)> =
        source.files.iter().filter(|(path, _)| !path.split('/').any(|part| part.starts_with('_'))).collect();
    let render_one = |path: &String, bytes: &Bytes| match Page::parse(path, bytes, &parser)? {
        Some(page) => Ok((page.output_path(), Bytes::from(page.render(source, &layouts, &site)?))),
        None => Ok((path.clone(), bytes.clone())),
    };
    let mut files = BTreeMap::new();
    for (rendered, (path, _)) in
        in_parallel(&sources, |(path, bytes)| render_one(path, bytes)).into_iter().zip(&sources)
    {
        let (output, content) = rendered?;
        if files.insert(output.clone(), content).is_some() {
            return Err(SiteError::Taken { path: output, first: "another page".into(), second: (*path).clone() });
        }
    }
    Ok(files)
}

/// Does `work` on all items, on every core; the results are in the items' order.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(threads).max(1);
    let work = &work;
    std::thread::scope(|scope| {
        let chunks = items.chunks(share);
        let running: Vec<_> =
            chunks.map(|chunk| scope.spawn(move || chunk.iter().map(work).collect::<Vec<R>>())).collect();
        let finished = running.into_iter().map(std::thread::ScopedJoinHandle::join);
        finished.flat_map(|results| results.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

fn site_value(source: &Source) -> Result<Value, SiteError> {
    let site = serde_json::json!({ "data": source.data });
    liquid::model::to_value(&site).map_err(|error| template_error("_data", 1, &error.to_string()))
}

/// A parser that knows the includes, each of which has been parsed under its own name first.
fn parser(source: &Source) -> Result<Parser, SiteError> {
    let language = || ParserBuilder::with_stdlib().tag(liquid_lib::jekyll::IncludeTag);
    let built = |error: liquid::Error| template_error("_includes", 1, &error.to_string());
    let alone = language().build().map_err(built)?;
    let mut includes = EagerCompiler::<InMemorySource>::empty();
    for (path, bytes) in &source.files {
        let Some(name) = path.strip_prefix("_includes/") else { continue };
        let text = text_of(path, bytes)?;
        alone.parse(text).map_err(|error| parse_error(path, text, 0, &error))?;
        includes.add(name, text);
    }
    language().partials(includes).build().map_err(built)
}

fn layouts(source: &Source, parser: &Parser) -> Result<BTreeMap<String, Page>, SiteError> {
    let mut layouts = BTreeMap::new();
    for (path, bytes) in &source.files {
        let Some(name) = path.strip_prefix("_layouts/").and_then(|name| name.strip_suffix(".html")) else { continue };
        let layout = match Page::parse(path, bytes, parser)? {
            Some(layout) => layout,
            None => Page::bare(path, text_of(path, bytes)?, parser)?,
        };
        layouts.insert(name.to_owned(), layout);
    }
    Ok(layouts)
}

/// A template with its front matter.
struct Page {
    path: String,
    front_matter: BTreeMap<String, String>,
    template: Template,
}

impl Page {
    /// The page in a file; `None` where the file has no front matter.
    fn parse(path: &str, bytes: &[u8], parser: &Parser) -> Result<Option<Self>, SiteError> {
        if !bytes.starts_with(b"---\n") {
            return Ok(None);
        }
        let text = text_of(path, bytes)?;
        let Some((head, body)) =
            text[4..].split_once("---\n").filter(|(head, _)| head.is_empty() || head.ends_with('\n'))
        else {
            return Err(template_error(path, 1, "front matter has no end: expected a line ---"));
        };
        let mut front_matter = BTreeMap::new();
        for (number, line) in head.lines().enumerate() {
            let (key, value) = front_matter_line(line).ok_or_else(|| {
                template_error(path, number + 2, "front matter: expected `key: value` or `key: \"value\"`")
            })?;
            front_matter.insert(key.to_owned(), value.to_owned());
        }
        let offset = head.lines().count() + 2;
        let template = parser.parse(body).map_err(|error| parse_error(path, text, offset, &error))?;
        Ok(Some(Self { path: path.to_owned(), front_matter, template }))
    }

    fn bare(path: &str, text: &str, parser: &Parser) -> Result<Self, SiteError> {
        let template = parser.parse(text).map_err(|error| parse_error(path, text, 0, &error))?;
        Ok(Self { path: path.to_owned(), front_matter: BTreeMap::new(), template })
    }

    fn output_path(&self) -> String {
        let permalink = self.front_matter.get("permalink").unwrap_or(&self.path).trim_start_matches('/');
        match permalink.is_empty() || permalink.ends_with('/') {
            true => format!("{permalink}index.html"),
            false => permalink.to_owned(),
        }
    }

    fn layout(&self) -> Option<&str> {
        self.front_matter.get("layout").map(String::as_str).filter(|name| !matches!(*name, "null" | "none" | ""))
    }

    fn render(&self, source: &Source, layouts: &BTreeMap<String, Self>, site: &Value) -> Result<String, SiteError> {
        let page = liquid::model::to_value(&self.front_matter)
            .map_err(|error| template_error(&self.path, 1, &error.to_string()))?;
        let mut content = self.fill(source, site, &page, String::new())?;
        let mut around = self;
        for _ in 0..MAX_LAYOUTS {
            let Some(name) = around.layout() else { return Ok(content) };
            around = layouts.get(name).ok_or_else(|| {
                template_error(&around.path, 2, &format!("layout {name}: expected a file _layouts/{name}.html"))
            })?;
            content = around.fill(source, site, &page, content)?;
        }
        Err(template_error(&self.path, 2, &format!("more than {MAX_LAYOUTS} layouts, or a circle of them")))
    }

    fn fill(&self, source: &Source, site: &Value, page: &Value, content: String) -> Result<String, SiteError> {
        let content = Value::scalar(content);
        let globals: HashMap<KString, &dyn ValueView> = HashMap::from([
            (KString::from_static("site"), site as &dyn ValueView),
            (KString::from_static("page"), page as &dyn ValueView),
            (KString::from_static("content"), &content as &dyn ValueView),
        ]);
        self.template.render(&globals).map_err(|error| fill_error(source, &self.path, &error.to_string()))
    }
}

fn front_matter_line(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let value = value.trim();
    let value = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'))?;
    let simple = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (simple && !value.starts_with(['[', '{', '|', '>', '&', '*', '\''])).then_some((key, value))
}

fn text_of<'a>(path: &str, bytes: &'a [u8]) -> Result<&'a str, SiteError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        template_error(path, line, "not UTF-8")
    })
}

fn template_error(file: &str, line: usize, reason: &str) -> SiteError {
    SiteError::Template { file: file.to_owned(), line: line.max(1), reason: reason.trim_end().to_owned() }
}

/// The parser's message has the place as `--> LINE:COLUMN`, counted from the end of the front matter, or only a word.
fn parse_error(file: &str, text: &str, offset: usize, error: &liquid::Error) -> SiteError {
    let message = error.to_string();
    let line = message.split_once("--> ").and_then(|(_, place)| place.split(':').next()?.trim().parse::<usize>().ok());
    let line = line.map_or_else(|| line_of(text, &message), |line| offset + line);
    template_error(file, line, &message)
}

/// The message of a failed filling has no place: it names the include and the expression, which are looked for.
fn fill_error(source: &Source, file: &str, message: &str) -> SiteError {
    let include = message.lines().rev().find_map(|line| {
        let named = line.split_once("{% include ")?.1.split_whitespace().next()?.trim_matches('"');
        let path = format!("_includes/{named}");
        source.files.contains_key(&path).then_some(path)
    });
    let file = include.unwrap_or_else(|| file.to_owned());
    let text = source.files.get(&file).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    template_error(&file, line_of(&text, message), message)
}

/// The first line that holds what the message complains of; 1 where none does.
fn line_of(text: &str, message: &str) -> usize {
    let value = |name: &str| message.lines().find_map(|line| line.trim().strip_prefix(name).map(str::to_owned));
    let path = value("variable=").zip(value("requested index=")).map(|(variable, index)| format!("{variable}.{index}"));
    let word = ["requested variable=", "requested filter=", "requested tag=", "requested block="].into_iter();
    let expression = |line: &str| {
        let traced = line.trim().strip_prefix("from: ")?;
        Some(traced.trim_start_matches("{{").trim_end_matches("}}").trim().to_owned())
    };
    let mut clues = path.into_iter().chain(word.filter_map(value)).chain(message.lines().filter_map(expression));
    let place = |clue: String| text.lines().position(|line| !clue.is_empty() && line.contains(&clue));
    clues.find_map(place).map_or(1, |position| position + 1)
}
