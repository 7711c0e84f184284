//! What a scraper's headers ask for.

use super::{Encoding, Escaping, Exposition, Format, protobuf};

impl Exposition {
    /// The one that suits an `Accept` header best: of those that it ranks highest the richest, which is protobuf, then
    /// OpenMetrics, then text. Text, which everybody reads, where it names none that we write.
    pub fn negotiate(accept: Option<&str>) -> Self {
        best(accept, |_| true)
    }
}

/// The text format that suits an `Accept` header best. Text 0.0.4 unless the header ranks OpenMetrics at least as high.
pub fn negotiate(accept: Option<&str>) -> Format {
    match best(accept, |encoding| encoding != Encoding::Protobuf).encoding {
        Encoding::OpenMetrics => Format::OpenMetrics,
        _ => Format::Text,
    }
}

/// Whether an `Accept-Encoding` header takes gzip (RFC 9110, 12.5.3).
pub fn accepts_gzip(accept_encoding: &str) -> bool {
    let (mut gzip, mut any) = (None, None);
    for range in ranges(accept_encoding) {
        match range.name.as_str() {
            "gzip" | "x-gzip" => gzip = Some(range.quality),
            "*" => any = Some(range.quality),
            _ => {}
        }
    }
    gzip.or(any).is_some_and(|quality| quality > 0.0)
}

fn best(accept: Option<&str>, wanted: impl Fn(Encoding) -> bool) -> Exposition {
    let mut best = (0.0, Exposition::default());
    for range in ranges(accept.unwrap_or_default()) {
        let Some(encoding) = range.encoding().filter(|encoding| wanted(*encoding)) else { continue };
        let escaping = range.parameter("escaping").map(|word| Escaping::of(word).unwrap_or_default());
        let found = Exposition { encoding, escaping };
        let rank = |exposition: Exposition| match exposition.encoding {
            Encoding::Text => 0,
            Encoding::Text1 => 1,
            Encoding::OpenMetrics => 2,
            Encoding::Protobuf => 3,
        };
        let is_better = range.quality > best.0 || (range.quality == best.0 && rank(found) > rank(best.1));
        if range.quality > 0.0 && is_better {
            best = (range.quality, found);
        }
    }
    best.1
}

/// One of the things that a header lists.
struct Range<'a> {
    name: String,
    quality: f64,
    parameters: Vec<(&'a str, &'a str)>,
}

fn ranges(header: &str) -> impl Iterator<Item = Range<'_>> {
    header.split(',').map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut quality = 1.0;
        let mut parameters = Vec::new();
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("q") {
                quality = value.parse::<f64>().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
            } else {
                parameters.push((name, value));
            }
        }
        Range { name, quality, parameters }
    })
}

impl Range<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The encoding that it means, if we write it.
    fn encoding(&self) -> Option<Encoding> {
        let version = self.parameter("version");
        match self.name.as_str() {
            "application/vnd.google.protobuf" => {
                let is_ours = self.parameter("proto").is_some_and(|proto| proto == protobuf::MESSAGE)
                    && self.parameter("encoding").is_some_and(|encoding| encoding == "delimited");
                is_ours.then_some(Encoding::Protobuf)
            }
            // Version 0.0.1 was a draft of another syntax.
            "application/openmetrics-text" if version.is_none_or(|version| version.starts_with("1.")) => {
                Some(Encoding::OpenMetrics)
            }
            "text/plain" | "text/*" | "*/*" => match version {
                None | Some("0.0.4") => Some(Encoding::Text),
                Some("1.0.0") => Some(Encoding::Text1),
                Some(_) => None,
            },
            _ => None,
        }
    }
}
