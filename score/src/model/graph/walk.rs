//! The walk through a graph: nodes in their order, bodies of branches and loops, functions of the model.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;

use super::super::onnx_proto::{Attribute, Function, Graph, Model, Node, Opset, text};
use super::known::{Known, columns_after, learn};
use super::operators::{Call, apply, is_random, select::table_size};
use super::value::{Cause, Flow, Length, Together, Value, either, join};

/// Values that are looked at: enough for any honest model, and an end for one made of loops within loops or of functions
/// that call each other.
const MAX_VALUES: usize = 1 << 20;
/// Graphs and functions within each other.
const MAX_DEPTH: usize = 24;

pub(super) struct Walk<'a> {
    functions: HashMap<(&'a [u8], &'a [u8]), &'a Function>,
    opsets: &'a [Opset],
    /// The attributes of the function around, which its nodes may refer to, also those of its branches and loops.
    given: Rc<[Attribute]>,
    /// The values by name, of the graph at hand last and of those around it before.
    scopes: Vec<HashMap<Bytes, Value>>,
    values: usize,
    depth: usize,
    pub(super) random: Option<Cause>,
    pub(super) table_sizes: Vec<Option<usize>>,
    pub(super) known: Known,
}

impl<'a> Walk<'a> {
    pub(super) fn new(model: &'a Model, inputs: usize) -> Self {
        let functions = model.functions.iter();
        Self {
            functions: functions
                .map(|function| ((&*function.domain, &*function.name), function))
                .collect(),
            opsets: &model.opsets,
            given: Rc::from([]),
            scopes: vec![HashMap::new()],
            values: 0,
            depth: 0,
            random: None,
            table_sizes: vec![None; inputs],
            known: Known::default(),
        }
    }

    /// Tells what is known of a value.
    pub(super) fn give(&mut self, name: Bytes, value: Value) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name, value);
        }
    }

    fn find(&self, name: &[u8]) -> Option<&Value> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name))
    }

    /// The outputs of a graph whose inputs have been given.
    pub(super) fn graph(&mut self, graph: &'a Graph) -> Vec<Value> {
        for tensor in &graph.initializers {
            if self.is_exhausted(1) {
                break;
            }
            self.give(tensor.name.clone(), Value::of_tensor(tensor));
        }
        for sparse in &graph.sparse_initializers {
            if let Some(values) = &sparse.values {
                self.give(values.name.clone(), Value::new(Flow::Constant, None));
            }
        }
        self.nodes(&graph.nodes);
        let names = graph.outputs.iter();
        names.map(|output| self.output(&output.name)).collect()
    }

    /// A value that is nowhere made is left out by the runtime, or the file is broken.
    fn output(&self, name: &[u8]) -> Value {
        let unknown = || Value::new(Flow::Unclear(Cause::new("output", &text(name)), None), None);
        self.find(name).cloned().unwrap_or_else(unknown)
    }

    /// Counts values; nothing more is looked at once there were too many.
    fn is_exhausted(&mut self, values: usize) -> bool {
        self.values = self.values.saturating_add(values);
        self.values > MAX_VALUES || self.depth > MAX_DEPTH
    }

    /// What comes behind the last node that is looked at is made nowhere.
    fn nodes(&mut self, nodes: &'a [Node]) {
        for node in nodes {
            if self.is_exhausted(1 + node.inputs.len() + node.outputs.len()) {
                return;
            }
            let outputs = self.node(node);
            for (name, value) in node.outputs.iter().zip(outputs) {
                if !name.is_empty() {
                    self.give(name.clone(), value);
                }
            }
        }
    }

    fn node(&mut self, node: &'a Node) -> Vec<Value> {
        let operator = match is_own(&node.domain) {
            true => text(&node.operator),
            false => format!("{}.{}", text(&node.domain), text(&node.operator)).into(),
        };
        let cause = Cause::of(node);
        if is_random(&operator) {
            self.random.get_or_insert_with(|| cause.clone());
        }
        let given = self.given.clone();
        let attributes = resolved(&node.attributes, &given);
        let inputs: Vec<Option<Value>> = node
            .inputs
            .iter()
            .map(|name| (!name.is_empty()).then(|| self.output(name)))
            .collect();
        match &*operator {
            "Constant" => return vec![constant(&attributes)],
            "If" => return self.branches(node, &inputs, &cause),
            "Loop" => return self.repeat(node, &inputs, &cause),
            "Scan" => return self.scan(node, &inputs, &cause),
            _ => {}
        }
        if let Some(outputs) = self.function(node, &attributes, &inputs) {
            return outputs;
        }
        let call = Call {
            node,
            operator: &operator,
            attributes: &attributes,
            opset: self.opset(&node.domain),
            inputs: inputs.iter().map(Option::as_ref).collect(),
            cause,
        };
        if let Some((input, size)) = table_size(&call)
            && let Some(smallest) = self.table_sizes.get_mut(input)
        {
            *smallest = Some(smallest.map_or(size, |other| other.min(size)));
        }
        learn(&call, &mut self.known);
        let columns = columns_after(&call);
        let mut outputs = apply(&call);
        for output in &mut outputs {
            output.columns.clone_from(&columns);
        }
        outputs
    }

    fn opset(&self, domain: &[u8]) -> i64 {
        let same =
            |opset: &&Opset| opset.domain == domain || (is_own(&opset.domain) && is_own(domain));
        self.opsets
            .iter()
            .find(same)
            .map_or(1, |opset| opset.version)
    }

    /// The outputs of a body that is given these inputs.
    fn body(&mut self, body: &'a Graph, inputs: Vec<Value>) -> Vec<Value> {
        let mut scope = HashMap::new();
        for (declared, value) in body.inputs.iter().zip(inputs) {
            scope.insert(declared.name.clone(), value);
        }
        self.scopes.push(scope);
        self.depth += 1;
        let outputs = self.graph(body);
        self.depth -= 1;
        self.scopes.pop();
        outputs
    }

    /// A function that the model brings along; `None` if it has none of that name.
    fn function(
        &mut self,
        node: &'a Node,
        attributes: &[Attribute],
        inputs: &[Option<Value>],
    ) -> Option<Vec<Value>> {
        let function = *self.functions.get(&(&*node.domain, &*node.operator))?;
        let mut given = attributes.to_vec();
        given.extend(function.defaults.iter().cloned());
        let mut scope = HashMap::new();
        for (name, value) in function.inputs.iter().zip(inputs) {
            if let Some(value) = value {
                scope.insert(name.clone(), value.clone());
            }
        }
        // A function sees nothing of what is around it.
        let around = std::mem::replace(&mut self.scopes, vec![scope]);
        let opsets = std::mem::replace(&mut self.opsets, &function.opsets);
        let given = std::mem::replace(&mut self.given, given.into());
        self.depth += 1;
        self.nodes(&function.nodes);
        let outputs = function
            .outputs
            .iter()
            .map(|name| self.output(name))
            .collect();
        self.depth -= 1;
        self.given = given;
        self.opsets = opsets;
        self.scopes = around;
        Some(outputs)
    }

    fn branches(&mut self, node: &'a Node, inputs: &[Option<Value>], cause: &Cause) -> Vec<Value> {
        let all = |flow: Flow| vec![Value::new(flow, None); node.outputs.len()];
        let (Some(then), Some(otherwise)) =
            (graph_of(node, "then_branch"), graph_of(node, "else_branch"))
        else {
            return all(Flow::Unclear(cause.clone(), None));
        };
        let Some(Some(condition)) = inputs.first() else {
            return all(Flow::Unclear(cause.clone(), None));
        };
        match (&condition.flow, condition.only_number()) {
            (Flow::Constant, Some(Length::Known(0))) => return self.body(otherwise, vec![]),
            (Flow::Constant, Some(Length::Known(_))) => return self.body(then, vec![]),
            // It depends on lengths that all rows share.
            (Flow::Constant | Flow::OneRow, _) => {}
            (Flow::Mixed(by), _) => return all(Flow::Mixed(by.clone())),
            _ => return all(Flow::Unclear(cause.clone(), None)),
        }
        let one_row = condition.flow == Flow::OneRow;
        let (a, b) = (self.body(then, vec![]), self.body(otherwise, vec![]));
        let pairs = a.iter().zip(&b).map(|(a, b)| either(a, b, cause));
        pairs
            .map(|value| match join([&value, condition], cause) {
                _ if !one_row => value,
                Together::OneRow => Value::new(Flow::OneRow, None),
                _ => Value::new(Flow::Unclear(cause.clone(), None), None),
            })
            .collect()
    }

    /// A loop that goes round equally often for all rows, and carries rows along, keeps them apart.
    fn repeat(&mut self, node: &'a Node, inputs: &[Option<Value>], cause: &Cause) -> Vec<Value> {
        let outputs = node.outputs.len();
        let unclear = || vec![Value::new(Flow::Unclear(cause.clone(), None), None); outputs];
        let Some(body) = graph_of(node, "body") else {
            return unclear();
        };
        let controls = inputs.iter().take(2).flatten();
        match join(controls, cause) {
            Together::Still(Flow::Constant) => {}
            Together::Mixed(by) => return vec![Value::new(Flow::Mixed(by), None); outputs],
            // How often it goes round depends on the rows.
            _ => return unclear(),
        }
        let Some(mut carried) = inputs
            .iter()
            .skip(2)
            .cloned()
            .collect::<Option<Vec<Value>>>()
        else {
            return unclear();
        };
        let number = Value::new(Flow::Constant, Some(vec![]));
        let goes_on = Value::new(Flow::Constant, Some(vec![]));
        let round = |walk: &mut Self, carried: &[Value]| {
            let mut given = vec![number.clone(), goes_on.clone()];
            given.extend(carried.iter().cloned());
            walk.body(body, given)
        };
        let Some(after) = self.settled(&mut carried, 1, cause, round) else {
            return unclear();
        };
        match after.first().map(|condition| &condition.flow) {
            Some(Flow::Constant) => {}
            Some(Flow::Mixed(by)) => {
                return vec![Value::new(Flow::Mixed(by.clone()), None); outputs];
            }
            // One row that is not done keeps all others going.
            Some(Flow::Rows(..)) => {
                return vec![Value::new(Flow::Mixed(cause.clone()), None); outputs];
            }
            _ => return unclear(),
        }
        let stacked = after
            .iter()
            .skip(1 + carried.len())
            .map(|value| stack(value, 0, Length::Free, cause));
        carried.iter().cloned().chain(stacked).collect()
    }

    /// Goes round until what is carried stays what it is, and gives what the last round made; the carried values stand
    /// behind its first `offset` results. Every round but the last changes at least one of them for good; `None` if it
    /// takes more rounds than that allows.
    fn settled(
        &mut self,
        carried: &mut [Value],
        offset: usize,
        cause: &Cause,
        round: impl Fn(&mut Self, &[Value]) -> Vec<Value>,
    ) -> Option<Vec<Value>> {
        for _ in 0..carried.len().saturating_mul(4).saturating_add(2) {
            let after = round(self, carried);
            if !settle(carried, after.get(offset..).unwrap_or_default(), cause) {
                return Some(after);
            }
            if self.is_exhausted(0) {
                break;
            }
        }
        None
    }

    /// Goes along an axis of its inputs: along the rows, one turn for each, or along another one with all rows in each turn.
    fn scan(&mut self, node: &'a Node, inputs: &[Option<Value>], cause: &Cause) -> Vec<Value> {
        let outputs = node.outputs.len();
        let unclear = || vec![Value::new(Flow::Unclear(cause.clone(), None), None); outputs];
        let attribute = |name: &str| node.attributes.iter().find(|a| a.name == name);
        let given: Option<Vec<Value>> = inputs.iter().cloned().collect();
        let (Some(body), Some(given)) = (graph_of(node, "body"), given) else {
            return unclear();
        };
        let scanned = attribute("num_scan_inputs").map_or(0, |a| a.int);
        let states = usize::try_from(scanned)
            .ok()
            .and_then(|n| given.len().checked_sub(n));
        // Version 8 had a batch axis of its own.
        let (Some(states), true) = (states, self.opset(b"") >= 9) else {
            return unclear();
        };
        let axes = attribute("scan_input_axes").map_or(&[][..], |a| &a.ints);
        let turns: Option<Vec<Turn>> = given[states..]
            .iter()
            .enumerate()
            .map(|(place, value)| Turn::of(value, axes.get(place).copied().unwrap_or(0)))
            .collect();
        let Some(turns) = turns else {
            return unclear();
        };
        let along_rows = turns.iter().any(|turn| turn.value.flow == Flow::OneRow);
        let length = turns.first().map_or(Length::Settled, |turn| turn.length);
        let backwards = ["scan_input_directions", "scan_output_directions"]
            .into_iter()
            .filter_map(attribute)
            .any(|directions| directions.ints.iter().any(|direction| *direction != 0));
        if backwards {
            // What goes in at one end comes out at the other.
            return unclear();
        }
        let mut carried = given[..states].to_vec();
        let round = |walk: &mut Self, carried: &[Value]| {
            let turns = turns.iter().map(|turn| turn.value.clone());
            walk.body(body, carried.iter().cloned().chain(turns).collect())
        };
        let Some(after) = self.settled(&mut carried, 0, cause, round) else {
            return unclear();
        };
        if along_rows && carried.iter().any(|value| value.flow != Flow::Constant) {
            // What one row leaves behind meets the next.
            return vec![Value::new(Flow::Mixed(cause.clone()), None); outputs];
        }
        let axes = attribute("scan_output_axes").map_or(&[][..], |a| &a.ints);
        let stacked = after.iter().skip(states).enumerate().map(|(place, value)| {
            let axis = axes.get(place).copied().unwrap_or(0);
            match usize::try_from(axis) {
                Ok(axis) => stack(value, axis, length, cause),
                Err(_) => Value::new(Flow::Unclear(cause.clone(), None), None),
            }
        });
        carried.iter().cloned().chain(stacked).collect()
    }
}

/// Brings what a loop carries and what a round made of it together; whether that changed something.
fn settle(carried: &mut [Value], after: &[Value], cause: &Cause) -> bool {
    let mut changed = false;
    for (place, value) in carried.iter_mut().enumerate() {
        let next = match after.get(place) {
            Some(after) => either(value, after, cause),
            None => Value::new(Flow::Unclear(cause.clone(), None), None),
        };
        changed |= next != *value;
        *value = next;
    }
    changed
}

/// What one turn of a scan sees of an input.
struct Turn {
    value: Value,
    length: Length,
}

impl Turn {
    fn of(value: &Value, axis: i64) -> Option<Self> {
        let mut dims = value.dims.clone()?;
        let axis = if axis < 0 {
            axis + i64::try_from(dims.len()).ok()?
        } else {
            axis
        };
        let axis = usize::try_from(axis)
            .ok()
            .filter(|axis| *axis < dims.len())?;
        let length = dims.remove(axis);
        let flow = match &value.flow {
            // A row that takes several turns would meet itself.
            Flow::Rows(rows, None) if *rows == axis && length == Length::Rows => Flow::OneRow,
            Flow::Rows(rows, _) if *rows == axis => return None,
            Flow::Rows(rows, scale) => Flow::Rows(rows - usize::from(axis < *rows), scale.clone()),
            flow => flow.clone(),
        };
        Some(Self {
            value: Value::new(flow, Some(dims)),
            length,
        })
    }
}

/// What all turns gave, along a new axis.
fn stack(value: &Value, axis: usize, length: Length, cause: &Cause) -> Value {
    let along_rows = length == Length::Rows;
    let flow = match &value.flow {
        // One place for each row.
        Flow::OneRow => Flow::Rows(axis, None),
        Flow::Constant if along_rows => Flow::Rows(axis, None),
        Flow::Rows(..) if along_rows => Flow::Mixed(cause.clone()),
        Flow::Rows(rows, scale) => Flow::Rows(rows + usize::from(axis <= *rows), scale.clone()),
        flow => flow.clone(),
    };
    let dims = value.dims.clone().and_then(|mut dims| {
        (axis <= dims.len()).then(|| {
            dims.insert(axis, length);
            dims
        })
    });
    Value::new(flow, dims)
}

/// Whether a domain is that of ONNX itself.
fn is_own(domain: &[u8]) -> bool {
    domain.is_empty() || domain == b"ai.onnx"
}

fn graph_of<'a>(node: &'a Node, name: &str) -> Option<&'a Graph> {
    let attribute = node.attributes.iter().find(|a| a.name == name)?;
    attribute.graph.as_ref()
}

/// Attributes that refer to one of the function around get its value.
fn resolved<'n>(own: &'n [Attribute], given: &[Attribute]) -> Cow<'n, [Attribute]> {
    if own.iter().all(|attribute| attribute.reference.is_empty()) {
        return Cow::Borrowed(own);
    }
    let values = own.iter().filter_map(|attribute| {
        if attribute.reference.is_empty() {
            return Some(attribute.clone());
        }
        let value = given.iter().find(|a| a.name == attribute.reference)?;
        Some(Attribute {
            name: attribute.name.clone(),
            ..value.clone()
        })
    });
    Cow::Owned(values.collect())
}

fn constant(attributes: &[Attribute]) -> Value {
    let known = |numbers: &[i64]| {
        numbers
            .iter()
            .map(|n| Length::Known(*n))
            .collect::<Vec<_>>()
    };
    for attribute in attributes {
        match (&*text(&attribute.name), &attribute.tensor) {
            ("value", Some(tensor)) => return Value::of_tensor(tensor),
            ("value_int", _) => return Value::of_numbers(vec![Length::Known(attribute.int)], true),
            ("value_ints", _) => return Value::of_numbers(known(&attribute.ints), false),
            ("value_float" | "value_string", _) => {
                return Value::new(Flow::Constant, Some(vec![]));
            }
            ("value_floats" | "value_strings", _) => {
                return Value::new(Flow::Constant, Some(vec![Length::Settled]));
            }
            _ => {}
        }
    }
    Value::new(Flow::Constant, None)
}
