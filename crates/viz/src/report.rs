//! A report as one HTML file: nothing beside it, nothing fetched, light and dark.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engraft_core::RgbImage;

use crate::chart::escape;
use crate::png_bytes;

/// Everything that a report says, in order. Text is text: markup in it is shown, not obeyed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// What it is about.
    pub title: String,
    /// What came out, in a sentence or two.
    pub lead: String,
    /// The numbers that matter most: what, and how much.
    pub facts: Vec<(String, String)>,
    /// The rest.
    pub sections: Vec<Section>,
    /// The small print: versions, date, machine.
    pub footer: String,
}

/// A part of a report, under a heading of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What stands below it, in order.
    pub blocks: Vec<Block>,
}

/// Something to read or to look at.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A table.
    Table(Table),
    /// A figure.
    Figure {
        /// SVG from this crate; it goes in as it is, so it must not come from elsewhere.
        svg: String,
        /// What there is to see.
        caption: String,
    },
    /// A picture, such as a contact sheet.
    Picture {
        /// The picture.
        image: RgbImage,
        /// What there is to see.
        caption: String,
    },
    /// Things to type.
    Commands(Vec<Command>),
}

/// Cells under column heads. Columns of numbers stand at the right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The heads.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

/// Something to type, and why one would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What it does.
    pub why: String,
    /// The line.
    pub line: String,
}

const STYLE: &str = include_str!("report.css");

impl Report {
    /// The report as one HTML document.
    ///
    /// ```
    /// use engraft_viz::Report;
    ///
    /// let report = Report { title: "Drawers & doors".into(), ..Report::default() };
    /// assert!(report.to_html().contains("<h1>Drawers &amp; doors</h1>"));
    /// ```
    pub fn to_html(&self) -> String {
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n",
            title = escape(&self.title),
        );
        if !self.lead.is_empty() {
            tag(&mut html, "p class=\"lead\"", &self.lead);
        }
        if !self.facts.is_empty() {
            html.push_str("<dl class=\"facts\">\n");
            for (what, value) in &self.facts {
                let (what, value) = (escape(what), escape(value));
                let _ = writeln!(html, "<div><dt>{what}</dt><dd>{value}</dd></div>");
            }
            html.push_str("</dl>\n");
        }
        for section in &self.sections {
            html.push_str("<section>\n");
            if !section.title.is_empty() {
                tag(&mut html, "h2", &section.title);
            }
            for block in &section.blocks {
                block.write(&mut html);
            }
            html.push_str("</section>\n");
        }
        if !self.footer.is_empty() {
            tag(&mut html, "footer", &self.footer);
        }
        html.push_str("</main>\n</body>\n</html>\n");
        html
    }
}

impl Section {
    /// A section of `blocks`.
    pub fn new(title: impl Into<String>, blocks: Vec<Block>) -> Self {
        Self { title: title.into(), blocks }
    }
}

impl Command {
    /// A line to type, and why one would.
    pub fn new(why: impl Into<String>, line: impl Into<String>) -> Self {
        Self { why: why.into(), line: line.into() }
    }
}

/// One element of text; `open` is its name with attributes.
fn tag(html: &mut String, open: &str, text: &str) {
    let name = open.split(' ').next().unwrap_or(open);
    let _ = writeln!(html, "<{open}>{}</{name}>", escape(text));
}

impl Block {
    fn write(&self, html: &mut String) {
        match self {
            Self::Text(text) => tag(html, "p", text),
            Self::Table(table) => table.write(html),
            Self::Figure { svg, caption } => {
                let _ = write!(html, "<figure>\n<div class=\"plot\">{svg}</div>\n");
                end_figure(html, caption);
            }
            Self::Picture { image, caption } => {
                let (width, height, alt) = (image.width(), image.height(), escape(caption));
                let data = STANDARD.encode(png_bytes(image));
                let _ = writeln!(
                    html,
                    "<figure>\n<img alt=\"{alt}\" width=\"{width}\" height=\"{height}\" \
                     src=\"data:image/png;base64,{data}\">"
                );
                end_figure(html, caption);
            }
            Self::Commands(commands) => {
                html.push_str("<dl class=\"commands\">\n");
                for Command { why, line } in commands {
                    let (why, line) = (escape(why), escape(line));
                    let _ = writeln!(html, "<dt>{why}</dt>\n<dd><code>{line}</code></dd>");
                }
                html.push_str("</dl>\n");
            }
        }
    }
}

fn end_figure(html: &mut String, caption: &str) {
    if !caption.is_empty() {
        tag(html, "figcaption", caption);
    }
    html.push_str("</figure>\n");
}

impl Table {
    /// Whether every cell of a column begins like a number, or says that there is none.
    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(column)).peekable();
        let number = |cell: &String| {
            let mut chars = cell.trim_start_matches(['-', '+', '<', '~']).chars();
            chars.next().is_none_or(|c| c.is_ascii_digit() || matches!(c, '.' | '\u{2013}'))
        };
        cells.peek().is_some() && cells.all(number)
    }

    fn write(&self, html: &mut String) {
        let class = |column: usize| if self.is_numeric(column) { " class=\"number\"" } else { "" };
        let classes: Vec<&str> = (0..self.columns.len()).map(class).collect();
        let write_row = |html: &mut String, cells: &[String], name: &str| {
            html.push_str("<tr>");
            for (i, class) in classes.iter().enumerate() {
                let cell = cells.get(i).map(|cell| escape(cell)).unwrap_or_default();
                let _ = write!(html, "<{name}{class}>{cell}</{name}>");
            }
            html.push_str("</tr>\n");
        };
        html.push_str("<div class=\"wide\"><table>\n<thead>\n");
        write_row(html, &self.columns, "th");
        html.push_str("</thead>\n<tbody>\n");
        for row in &self.rows {
            write_row(html, row, "td");
        }
        html.push_str("</tbody>\n</table></div>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let table = Table {
            columns: vec!["policy".into(), "success".into()],
            rows: vec![vec!["<lfs>".into(), "82 %".into()], vec!["spawnnet".into()]],
        };
        let figure = Block::Figure { svg: "<svg></svg>".into(), caption: "a & b".into() };
        let picture =
            Block::Picture { image: RgbImage::filled(2, 1, [9; 3]), caption: "\"x\"".into() };
        let commands = Block::Commands(vec![Command::new("look", "engraft view a && b")]);
        Report {
            title: "Report".into(),
            lead: "It <moves>.".into(),
            facts: vec![("success".into(), "82 %".into())],
            sections: vec![Section::new(
                "All",
                vec![Block::Table(table), figure, picture, commands],
            )],
            footer: "engraft 0.1.0".into(),
        }
    }

    #[test]
    fn text_is_escaped_and_figures_are_not() {
        let html = report().to_html();
        for said in ["It &lt;moves&gt;.", "&lt;lfs&gt;", "a &amp; b", "alt=\"&quot;x&quot;\""] {
            assert!(html.contains(said), "{said} is missing");
        }
        assert!(html.contains("<svg></svg>") && html.contains("engraft view a &amp;&amp; b"));
    }

    #[test]
    fn the_file_needs_no_other() {
        let html = report().to_html();
        assert!(html.contains("src=\"data:image/png;base64,iVBORw0KGgo"));
        assert!(!html.contains("http://") && !html.contains("https://"));
    }

    #[test]
    fn columns_of_numbers_stand_at_the_right_and_short_rows_are_filled() {
        let html = report().to_html();
        assert!(html.contains("<th>policy</th><th class=\"number\">success</th>"));
        assert!(html.contains("<td>spawnnet</td><td class=\"number\"></td>"));
    }
}
