//! A Dockerfile's instructions with their lines.

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) line: usize,
    /// In capitals: `FROM`.
    pub(super) name: String,
    /// The rest, its lines joined by blanks; a here-document's text is part of it.
    pub(super) rest: String,
    /// Which `FROM` it belongs to, from 1; 0 before the first.
    pub(super) stage: usize,
}

/// Every instruction of a Dockerfile; comments and parser directives are left out.
pub(super) fn parse(text: &str) -> Vec<Instruction> {
    let mut instructions: Vec<Instruction> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut rest = line.to_owned();
        while rest.ends_with('\\') {
            rest.pop();
            match lines.find(|(_, next)| !next.trim_start().starts_with('#')) {
                Some((_, next)) => rest.push_str(next.trim()),
                None => break,
            }
        }
        for mark in here_documents(&rest) {
            for (_, next) in lines.by_ref().take_while(|(_, next)| next.trim() != mark) {
                rest.push('\n');
                rest.push_str(next);
            }
        }
        let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((&rest, ""));
        let name = name.to_ascii_uppercase();
        let stage = instructions.last().map_or(0, |last| last.stage) + usize::from(name == "FROM");
        instructions.push(Instruction { line: index + 1, name, rest: rest.trim().to_owned(), stage });
    }
    instructions
}

/// The ends of the here-documents that an instruction opens, as in `RUN <<EOF`.
fn here_documents(line: &str) -> Vec<String> {
    line.split_whitespace()
        .filter_map(|word| word.strip_prefix("<<"))
        .map(|mark| mark.trim_start_matches('-').trim_matches(['"', '\'']).to_owned())
        .filter(|mark| mark.starts_with(|first: char| first.is_ascii_uppercase()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continued_lines_and_here_documents_are_one_instruction() {
        let text = "# syntax=docker/dockerfile:1\nARG A=1\nFROM a AS b\nRUN one \\\n    # why\n    two\nRUN <<EOF\nUSER root\nEOF\nFROM c\nUSER 10:10\n";
        let found: Vec<_> = parse(text).into_iter().map(|one| (one.line, one.name, one.rest, one.stage)).collect();
        let expected = [
            (2, "ARG", "A=1", 0),
            (3, "FROM", "a AS b", 1),
            (4, "RUN", "one two", 1),
            (7, "RUN", "<<EOF\nUSER root", 1),
            (10, "FROM", "c", 2),
            (11, "USER", "10:10", 2),
        ];
        let expected = expected.map(|(line, name, rest, stage)| (line, name.to_owned(), rest.to_owned(), stage));
        assert_eq!(found, expected);
    }
}
