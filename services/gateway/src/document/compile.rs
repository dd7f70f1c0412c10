//! Makes operations of a document. One whose schemas cannot be compiled does not prevent the others:
//! it is marked, and what becomes of its requests is up to the route.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use http::{HeaderName, Method};
use jsonschema::Validator;
use quartet_common::openapi::walk;
use serde_json::{Map, Value};

use super::{
    ApiDocument, Operation, PathItem,
    body::{BodyRule, Content, Contents, KnownNames, ResponseRule, Statuses, essence, is_json},
    parameter::{Parameter, Place, Style},
    paths::{PathIndex, Template},
    schema::{Direction, follow, version},
    shape::Shape,
    validators::{PreparedDocument, Validators, token},
};

const MAX_OPERATIONS: usize = 10_000;
/// Of members; those of others are `*` in metrics.
const MAX_NAMES: usize = 20_000;
const MAX_NAME_BYTES: usize = 64;
const MAX_OPERATION_BYTES: usize = 100;
/// They are no parameters (OpenAPI 3.1, 4.8.12.2).
const NO_PARAMETERS: [&str; 3] = ["accept", "content-type", "authorization"];

/// What else than the document says what is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CompileSettings {
    /// Formats that are more than annotations.
    pub(crate) formats: Vec<String>,
}

type Fault = Arc<str>;

/// What operations are made of.
struct Compiler<'d> {
    document: &'d Value,
    requests: Validators<'d>,
    responses: Validators<'d>,
    known: KnownNames,
    /// Names of keys in the query.
    keys: Vec<Arc<str>>,
}

impl ApiDocument {
    /// # Errors
    /// When it is no document of a version that is known.
    pub(crate) fn compile(document: &Value, settings: &CompileSettings) -> Result<Self, String> {
        if !version(document).is_some_and(|version| version.starts_with("3.")) {
            return Err("must be an OpenAPI document of version 3.0 or 3.1".to_owned());
        }
        let paths = document.get("paths").and_then(Value::as_object);
        let paths = paths.ok_or("must have `paths`")?;
        let prepare = |direction| PreparedDocument::new(document, direction, &settings.formats);
        let (requests, responses) = (prepare(Direction::Request)?, prepare(Direction::Response)?);
        let mut compiler = Compiler {
            document,
            requests: requests.validators(),
            responses: responses.validators(),
            known: Arc::new(known_names(&requests.document)),
            keys: query_keys(document),
        };
        let (mut index, mut items, mut count) = (PathIndex::default(), Vec::new(), 0);
        for path in paths.keys().filter(|path| path.starts_with('/')) {
            let segments = path.split('/').skip(1).map(Template::parse);
            let Some(segments) = segments.collect::<Option<Vec<_>>>() else {
                return Err(format!("the path `{path}` has braces that do not match"));
            };
            let item = compiler.item(path, &segments);
            count += item.operations.len();
            if count > MAX_OPERATIONS {
                return Err(format!("must have at most {MAX_OPERATIONS} operations"));
            }
            for base in compiler.bases_of(path) {
                index.insert(&base, &segments, items.len());
            }
            items.push(item);
        }
        Ok(Self {
            paths: index,
            items,
        })
    }
}

impl Compiler<'_> {
    fn object(&self, pointer: &str) -> Option<&Map<String, Value>> {
        self.document.pointer(pointer)?.as_object()
    }

    fn text(&self, pointer: &str, key: &str) -> Option<&str> {
        self.object(pointer)?.get(key)?.as_str()
    }

    fn is(&self, pointer: &str, key: &str) -> bool {
        self.object(pointer).and_then(|keys| keys.get(key)) == Some(&Value::Bool(true))
    }

    /// Where something is that may be a reference.
    fn place(&self, pointer: &str) -> String {
        follow(self.document, pointer)
    }

    /// The names of an object, and where their values are.
    fn entries(&self, pointer: &str) -> Vec<(String, String)> {
        let keys = self.object(pointer).into_iter().flat_map(Map::keys);
        keys.map(|key| (key.clone(), format!("{pointer}/{}", token(key))))
            .collect()
    }

    /// The paths of the servers of a path, else those of the document, and those of its operations.
    fn bases_of(&self, path: &str) -> Vec<String> {
        let item = self.place(&format!("/paths/{}", token(path)));
        let own = self.document.pointer(&item).and_then(base_paths);
        let own = own.or_else(|| base_paths(self.document));
        let mut all = own.unwrap_or_else(|| vec![String::new()]);
        for (_, pointer) in self.entries(&item) {
            let operation = self.document.pointer(&pointer);
            all.extend(operation.and_then(base_paths).into_iter().flatten());
        }
        all
    }

    fn item(&mut self, path: &str, segments: &[Template]) -> PathItem {
        let item = self.place(&format!("/paths/{}", token(path)));
        let mut operations = Vec::new();
        for (key, pointer) in self.entries(&item) {
            if let Some(method) = method_of(&key) {
                let name = self.text(&pointer, "operationId").map(str::to_owned);
                let name = name.unwrap_or_else(|| format!("{method} {path}"));
                let operation = self.operation(shortened(name), &item, &pointer, segments);
                operations.push((method, Arc::new(operation)));
            }
        }
        PathItem { operations }
    }

    fn operation(
        &mut self,
        name: String,
        item: &str,
        pointer: &str,
        segments: &[Template],
    ) -> Operation {
        let parameters = self.parameters(item, pointer, segments);
        let body = self.body(&format!("{pointer}/requestBody"));
        let responses = self.responses(&format!("{pointer}/responses"));
        let broken = match (&parameters, &body) {
            (Err(fault), _) | (_, Err(fault)) => Some(Arc::clone(fault)),
            _ => None,
        };
        let parameters = parameters.unwrap_or_default();
        let is_read = |it: &Parameter| {
            matches!(it.place, Place::Query) && (it.style != Style::Opaque || it.is_required)
        };
        Operation {
            name: name.into(),
            ignores_query: !parameters.iter().any(is_read),
            parameters,
            body: body.unwrap_or_default(),
            broken_responses: responses.is_err(),
            responses: responses.unwrap_or_default(),
            broken,
        }
    }

    /// Those of the path, replaced by those of the operation.
    fn parameters(
        &mut self,
        item: &str,
        operation: &str,
        segments: &[Template],
    ) -> Result<Vec<Parameter>, Fault> {
        let mut places = BTreeMap::new();
        for list in [item, operation].map(|it| format!("{it}/parameters")) {
            let count = self.document.pointer(&list).and_then(Value::as_array);
            for at in 0..count.map_or(0, Vec::len) {
                let place = self.place(&format!("{list}/{at}"));
                let named = self.text(&place, "in").zip(self.text(&place, "name"));
                if let Some((kind, name)) = named {
                    places.insert((kind.to_owned(), name.to_owned()), place.clone());
                }
            }
        }
        let mut found = Vec::new();
        for ((kind, name), place) in places {
            found.extend(self.parameter(&kind, &name, &place, segments)?);
        }
        let keys = self.keys.iter().map(|name| Parameter {
            name: Arc::clone(name),
            field: "query.*".into(),
            place: Place::Query,
            is_required: false,
            allows_empty: true,
            style: Style::Opaque,
            explode: true,
            shape: Shape::of(&Value::Null, &Value::Bool(true)),
            validator: None,
        });
        found.extend(keys);
        Ok(found)
    }

    /// `None`: it is none that is looked at.
    fn parameter(
        &mut self,
        kind: &str,
        name: &str,
        pointer: &str,
        segments: &[Template],
    ) -> Result<Option<Parameter>, Fault> {
        let place = match kind {
            "path" => {
                let at = segments.iter().position(|segment| segment.has(name));
                let Some(at) = at else { return Ok(None) };
                Place::Path(at, segments[at].clone())
            }
            "query" => Place::Query,
            "header" if NO_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()) => {
                return Ok(None);
            }
            "header" => match HeaderName::try_from(name) {
                Ok(name) => Place::Header(name),
                Err(_) => return Ok(None),
            },
            "cookie" => Place::Cookie,
            _ => return Ok(None),
        };
        let (style, schema) = self.style(kind, pointer);
        let explode = self
            .object(pointer)
            .and_then(|keys| keys.get("explode")?.as_bool());
        let value = self.requests.schema(&schema);
        let shape = Shape::of(self.requests.document(), value.unwrap_or(&Value::Null));
        let validator = match style {
            Style::Opaque => None,
            _ => self.requests.at(&schema)?,
        };
        // A cookie that is a list in the style of forms would be several cookies.
        let is_form = style == Style::Form && kind == "query";
        Ok(Some(Parameter {
            field: shortened(format!("{kind}.{name}")).into(),
            name: name.into(),
            place,
            is_required: self.is(pointer, "required"),
            allows_empty: self.is(pointer, "allowEmptyValue"),
            style,
            explode: explode.unwrap_or(is_form),
            shape,
            validator,
        }))
    }

    /// How the value is written, and where its schema is.
    fn style(&self, kind: &str, pointer: &str) -> (Style, String) {
        let content = self
            .entries(&format!("{pointer}/content"))
            .into_iter()
            .next();
        if let Some((media_type, content)) = content {
            let is_json = is_json(&essence(&media_type));
            let style = if is_json { Style::Json } else { Style::Opaque };
            return (style, format!("{content}/schema"));
        }
        let style = match (self.text(pointer, "style"), kind) {
            (Some("label"), _) => Style::Label,
            (Some("matrix"), _) => Style::Matrix,
            (Some("spaceDelimited"), _) => Style::Spaces,
            (Some("pipeDelimited"), _) => Style::Pipes,
            (Some("deepObject"), _) => Style::DeepObject,
            (Some("form"), _) | (None, "query" | "cookie") => Style::Form,
            _ => Style::Simple,
        };
        (style, format!("{pointer}/schema"))
    }

    fn body(&mut self, pointer: &str) -> Result<Option<BodyRule>, Fault> {
        let pointer = self.place(pointer);
        if self.object(&pointer).is_none() {
            return Ok(None);
        }
        let contents = self.entries(&format!("{pointer}/content"));
        let list = contents_of(contents, &mut self.requests)?;
        Ok(Some(BodyRule {
            is_required: self.is(&pointer, "required"),
            contents: Contents {
                list,
                known: Arc::clone(&self.known),
            },
        }))
    }

    fn responses(&mut self, pointer: &str) -> Result<Vec<ResponseRule>, Fault> {
        let mut rules = Vec::new();
        for (status, place) in self.entries(pointer) {
            let place = self.place(&place);
            let Some(statuses) = statuses(&status) else {
                continue;
            };
            let contents = self.entries(&format!("{place}/content"));
            let list = contents_of(contents, &mut self.responses)?;
            let headers = self.entries(&format!("{place}/headers")).into_iter();
            let required = headers.filter(|(_, header)| self.is(&self.place(header), "required"));
            let named = required.filter_map(|(name, _)| {
                let parsed = HeaderName::try_from(&*name).ok()?;
                Some((parsed, name.into()))
            });
            rules.push(ResponseRule {
                statuses,
                headers: named.collect(),
                contents: Contents {
                    list,
                    known: Arc::clone(&self.known),
                },
            });
        }
        Ok(rules)
    }
}

fn contents_of(
    contents: Vec<(String, String)>,
    validators: &mut Validators<'_>,
) -> Result<Vec<Content>, Fault> {
    let mut list = Vec::new();
    for (media_type, pointer) in contents {
        let range = essence(&media_type);
        // A range may be that of JSON.
        let validator: Option<Arc<Validator>> = if is_json(&range) || range.ends_with("/*") {
            validators.at(&format!("{pointer}/schema"))?
        } else {
            None
        };
        list.push(Content {
            range: range.into(),
            validator,
        });
    }
    Ok(list)
}

fn method_of(key: &str) -> Option<Method> {
    Some(match key {
        "get" => Method::GET,
        "put" => Method::PUT,
        "post" => Method::POST,
        "delete" => Method::DELETE,
        "options" => Method::OPTIONS,
        "head" => Method::HEAD,
        "patch" => Method::PATCH,
        "trace" => Method::TRACE,
        _ => return None,
    })
}

fn statuses(text: &str) -> Option<Statuses> {
    if text == "default" {
        return Some(Statuses::Default);
    }
    let class = text.strip_suffix("XX").or_else(|| text.strip_suffix("xx"));
    match class {
        Some(class) => class.parse().ok().map(Statuses::Class),
        None => text.parse().ok().map(Statuses::One),
    }
}

/// The paths of the servers' URLs; `None`: there are none.
fn base_paths(owner: &Value) -> Option<Vec<String>> {
    let servers = owner
        .get("servers")?
        .as_array()
        .filter(|it| !it.is_empty())?;
    let paths = servers.iter().map(|server| {
        let mut url = server["url"].as_str().unwrap_or_default().to_owned();
        for (name, variable) in server["variables"].as_object().into_iter().flatten() {
            let value = variable["default"].as_str().unwrap_or_default();
            url = url.replace(&format!("{{{name}}}"), value);
        }
        let path = match url.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
            None => url.trim_start_matches('/'),
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = path.trim_end_matches('/');
        if path.is_empty() || path == "." {
            String::new()
        } else {
            format!("/{path}")
        }
    });
    let paths: Vec<String> = paths.collect();
    Some(paths)
}

/// Of API keys: the caller's, not the operation's.
fn query_keys(document: &Value) -> Vec<Arc<str>> {
    let schemes = document.pointer("/components/securitySchemes");
    let schemes = schemes.and_then(Value::as_object).into_iter().flatten();
    let in_query = schemes.filter(|(_, scheme)| scheme["in"] == "query");
    let names = in_query.filter_map(|(_, scheme)| scheme["name"].as_str());
    names.map(Arc::from).collect()
}

fn known_names(document: &Value) -> HashSet<Box<str>> {
    let mut names = HashSet::new();
    walk::schemas(&mut document.clone(), &mut |schema: &mut Value| {
        let properties = schema.get("properties").and_then(Value::as_object);
        for name in properties.into_iter().flat_map(Map::keys) {
            if names.len() < MAX_NAMES && name.len() <= MAX_NAME_BYTES {
                names.insert(name.as_str().into());
            }
        }
    });
    names
}

fn shortened(mut text: String) -> String {
    let mut end = MAX_OPERATION_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
