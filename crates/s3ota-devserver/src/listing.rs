//! One page of a bucket's listing: prefix, delimiter, where to continue.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::store::Object;

/// What to list.
#[derive(Default)]
pub(crate) struct Query {
    pub(crate) prefix: String,
    /// Keys that are the same from the prefix up to this are listed as one common prefix.
    pub(crate) delimiter: Option<String>,
    /// List only what comes after this key or common prefix.
    pub(crate) after: String,
    pub(crate) max_keys: usize,
}

/// One page, in the order of the keys' UTF-8 bytes.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Object>>,
    pub(crate) common_prefixes: Vec<String>,
    /// The last key or common prefix of this page, if more follow.
    pub(crate) next: Option<String>,
}

impl Query {
    pub(crate) fn run(&self, objects: &BTreeMap<String, Arc<Object>>) -> Page {
        let mut page = Page::default();
        if self.max_keys == 0 {
            return page;
        }
        let start = if self.after >= self.prefix {
            Bound::Excluded(&*self.after)
        } else {
            Bound::Included(&*self.prefix)
        };
        let mut last = None;
        for (key, object) in objects.range::<str, _>((start, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(&*self.prefix) else {
                break;
            };
            let common = self
                .delimiter
                .as_deref()
                .filter(|delimiter| !delimiter.is_empty())
                .and_then(|delimiter| {
                    let (head, _) = rest.split_once(delimiter)?;
                    Some(format!("{}{head}{delimiter}", self.prefix))
                });
            let name = common.as_deref().unwrap_or(key);
            if common.is_some()
                && (name == self.after || Some(name) == page.common_prefixes.last().map(|it| &**it))
            {
                continue;
            }
            if page.objects.len() + page.common_prefixes.len() == self.max_keys {
                page.next = last;
                break;
            }
            last = Some(name.to_owned());
            match common {
                Some(common) => page.common_prefixes.push(common),
                None => page.objects.push(Arc::clone(object)),
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(keys: &[&str]) -> BTreeMap<String, Arc<Object>> {
        let object = |key: &str| {
            serde_json::from_value::<Object>(serde_json::json!({
                "key": key, "size": 0, "etag": "", "last_modified": 0, "data": ""
            }))
            .unwrap()
        };
        keys.iter()
            .map(|&key| (key.to_owned(), Arc::new(object(key))))
            .collect()
    }

    /// All pages of a list; common prefixes are marked with a star.
    fn pages(
        keys: &[&str],
        prefix: &str,
        delimiter: Option<&str>,
        max_keys: usize,
    ) -> Vec<Vec<String>> {
        let objects = bucket(keys);
        let mut query = Query {
            prefix: prefix.to_owned(),
            delimiter: delimiter.map(str::to_owned),
            after: String::new(),
            max_keys,
        };
        let mut pages = Vec::new();
        loop {
            let page = query.run(&objects);
            let mut names: Vec<String> = page
                .objects
                .iter()
                .map(|object| object.key.clone())
                .collect();
            names.extend(
                page.common_prefixes
                    .iter()
                    .map(|prefix| format!("{prefix}*")),
            );
            names.sort();
            pages.push(names);
            match page.next {
                Some(next) => query.after = next,
                None => return pages,
            }
        }
    }

    const KEYS: &[&str] = &["a", "fw/1/x", "fw/1/y", "fw/2/x", "fw/stable.json", "g"];

    #[test]
    fn a_list_is_in_key_order_and_whole() {
        assert_eq!(pages(KEYS, "", None, 1000), [KEYS.to_vec()]);
    }

    #[test]
    fn a_prefix_selects() {
        assert_eq!(pages(KEYS, "fw/1", None, 1000), [["fw/1/x", "fw/1/y"]]);
        assert_eq!(pages(KEYS, "nothing", None, 1000), [[""; 0]]);
    }

    #[test]
    fn a_delimiter_folds_folders() {
        assert_eq!(pages(KEYS, "", Some("/"), 1000), [["a", "fw/*", "g"]]);
        assert_eq!(
            pages(KEYS, "fw/", Some("/"), 1000),
            [["fw/1/*", "fw/2/*", "fw/stable.json"]]
        );
    }

    #[test]
    fn pages_neither_repeat_nor_lose_anything() {
        assert_eq!(pages(KEYS, "", None, 4), [&KEYS[..4], &KEYS[4..]]);
        assert_eq!(
            pages(KEYS, "fw/", Some("/"), 1),
            [["fw/1/*"], ["fw/2/*"], ["fw/stable.json"]]
        );
        assert_eq!(
            pages(KEYS, "", Some("/"), 2),
            [vec!["a", "fw/*"], vec!["g"]]
        );
    }

    #[test]
    fn a_page_that_ends_with_the_list_names_no_next_one() {
        assert_eq!(pages(KEYS, "", None, KEYS.len()).len(), 1);
        assert_eq!(pages(KEYS, "", None, 0), [[""; 0]]);
    }
}
