//! Settings export: both documents as text, secrets removed, to be copied from the terminal.
use super::gateway_settings;
use crate::console::{
    grid::{Line, paragraph, wrapped},
    page::Page,
    view::View,
};

/// Both documents, as a seed has them.
pub(super) fn page() -> Page {
    Page::live("Settings Export", Box::new(lines))
}

fn lines(view: &View) -> Vec<Line> {
    let mut lines = vec![Line::bold(" The machine's settings")];
    match &view.settings {
        // PID 1 has taken the password's hash out.
        Ok(settings) => {
            lines.extend(document(toml::to_string(settings).map_err(|e| e.to_string())))
        }
        Err(why) => lines.extend(paragraph(why)),
    }
    lines.push(Line::empty());
    lines.push(Line::bold(" The gateway's settings, without secrets"));
    match gateway_settings(view) {
        Ok((_, settings)) => lines.extend(document(settings.to_toml().map_err(|e| e.to_string()))),
        Err(why) => lines.extend(paragraph(&why)),
    }
    lines
}

fn document(text: Result<String, String>) -> Vec<Line> {
    match text {
        Ok(text) => text.lines().flat_map(|line| wrapped(line, 80)).map(Line::plain).collect(),
        Err(why) => paragraph(&why),
    }
}
