//! Generated cases of variables and hash tables: small graphs, of which the operator under test is a part.

use crate::common::cases::typical;
use crate::common::node_case::constant_strings;
use crate::op::Case;
use ferrolite_model::schema::{CallOnceOptionsT, HashtableOptionsT, VarHandleOptionsT};
use ferrolite_model::{BuiltinOperator as B, BuiltinOptions, ModelBuilder, Quantization, TensorId, TensorType};

/// A graph under construction.
#[derive(Default)]
struct Graph(ModelBuilder);

impl Graph {
    fn tensor(&mut self, ty: TensorType, shape: &[i32]) -> TensorId {
        // Outputs are told apart by their names.
        let name = format!("t{}", self.0.graph().tensors.len());
        let id = self.0.tensor(name, ty, shape);
        self.quantized(id, ty)
    }

    fn input(&mut self, ty: TensorType, shape: &[i32]) -> TensorId {
        let id = self.0.input("x", ty, shape);
        self.quantized(id, ty)
    }

    fn quantized(&mut self, id: TensorId, ty: TensorType) -> TensorId {
        if let Some((scale, zero)) = typical(ty) {
            self.0.quantize(id, Quantization::per_tensor(scale, zero));
        }
        id
    }

    fn output(&mut self, id: TensorId) {
        self.0.output(id);
    }

    fn node(&mut self, op: B, options: BuiltinOptions, inputs: &[TensorId], outputs: &[TensorId]) {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.0.node(op, 1, options, &inputs, outputs);
    }

    /// VAR_HANDLE.
    fn variable(&mut self, container: &str, name: &str) -> TensorId {
        let handle = self.tensor(TensorType::Resource, &[]);
        let options = VarHandleOptionsT { container: Some(container.into()), shared_name: Some(name.into()) };
        self.node(B::VAR_HANDLE, BuiltinOptions::VarHandleOptions(Box::new(options)), &[], &[handle]);
        handle
    }

    fn assign(&mut self, handle: TensorId, value: TensorId) {
        self.node(B::ASSIGN_VARIABLE, BuiltinOptions::AssignVariableOptions(Box::default()), &[handle, value], &[]);
    }

    fn read(&mut self, handle: TensorId, ty: TensorType, shape: &[i32]) -> TensorId {
        let value = self.tensor(ty, shape);
        self.node(B::READ_VARIABLE, BuiltinOptions::ReadVariableOptions(Box::default()), &[handle], &[value]);
        value
    }

    /// CALL_ONCE of subgraph 1, which `fill` makes.
    fn call_once(&mut self, fill: impl FnOnce(&mut Graph)) {
        let options = CallOnceOptionsT { init_subgraph_index: 1 };
        self.node(B::CALL_ONCE, BuiltinOptions::CallOnceOptions(Box::new(options)), &[], &[]);
        self.0.subgraph("init");
        fill(self);
        self.0.select(0);
    }

    /// HASHTABLE.
    fn table(&mut self, [key, value]: [TensorType; 2]) -> TensorId {
        let handle = self.tensor(TensorType::Resource, &[1]);
        let options = HashtableOptionsT { table_id: 3, key_dtype: key.to_schema(), value_dtype: value.to_schema() };
        self.node(B::HASHTABLE, BuiltinOptions::HashtableOptions(Box::new(options)), &[], &[handle]);
        handle
    }

    fn import(&mut self, table: TensorId, [keys, values]: [TensorId; 2]) {
        let options = BuiltinOptions::HashtableImportOptions(Box::default());
        self.node(B::HASHTABLE_IMPORT, options, &[table, keys, values], &[]);
    }

    fn find(&mut self, table: TensorId, keys: TensorId, default: TensorId, ty: TensorType, shape: &[i32]) {
        let found = self.tensor(ty, shape);
        let options = BuiltinOptions::HashtableFindOptions(Box::default());
        self.node(B::HASHTABLE_FIND, options, &[table, keys, default], &[found]);
        self.output(found);
    }

    fn size(&mut self, table: TensorId) {
        let size = self.tensor(TensorType::Int64, &[1]);
        self.node(B::HASHTABLE_SIZE, BuiltinOptions::HashtableSizeOptions(Box::default()), &[table], &[size]);
        self.output(size);
    }

    fn case(self, name: impl Into<String>) -> Option<Case> {
        Some(Case { name: name.into(), model: self.0.build().ok()? })
    }
}

const SHAPES: [&[i32]; 3] = [&[], &[7], &[2, 3, 5]];

/// Cases of VAR_HANDLE: handles of one variable, of two variables, and of two containers.
pub fn var_handle() -> Vec<Case> {
    let case = |(name, [first, second]): (&str, [[&str; 2]; 2])| {
        let mut g = Graph::default();
        let values = [0, 1].map(|_| g.input(TensorType::Float32, &[4]));
        for ([container, name], value) in [first, second].into_iter().zip(values) {
            let handle = g.variable(container, name);
            g.assign(handle, value);
        }
        for [container, name] in [first, second] {
            let handle = g.variable(container, name);
            let value = g.read(handle, TensorType::Float32, &[4]);
            g.output(value);
        }
        g.case(name)
    };
    let cases = [
        ("one variable", [["", "a"], ["", "a"]]),
        ("two variables", [["", "a"], ["", "b"]]),
        ("two containers", [["c", "a"], ["d", "a"]]),
    ];
    cases.into_iter().filter_map(case).collect()
}

/// Cases of READ_VARIABLE, or of ASSIGN_VARIABLE, where a second assignment counts and what was read before stays.
pub fn variables(twice: bool) -> Vec<Case> {
    use TensorType::*;
    let mut cases = Vec::new();
    for ty in [Float32, Float64, Bool, Int8, UInt8, Int16, Int32, Int64] {
        for shape in SHAPES {
            let mut g = Graph::default();
            let value = g.input(ty, shape);
            let handle = g.variable("", "v");
            g.assign(handle, value);
            let first = g.read(handle, ty, shape);
            g.output(first);
            if twice {
                let value = g.input(ty, shape);
                g.assign(handle, value);
                let second = g.read(handle, ty, shape);
                g.output(second);
            }
            cases.extend(g.case(format!("{ty} {shape:?}")));
        }
    }
    cases
}

/// Cases of CALL_ONCE: a variable with a value of its own, to which the input is added.
pub fn call_once() -> Vec<Case> {
    let case = |shape: &[i32]| {
        let mut g = Graph::default();
        let x = g.input(TensorType::Float32, shape);
        g.call_once(|g| {
            let count = shape.iter().product::<i32>();
            let start: Vec<f32> = (0..count).map(|i| i as f32 / 8.0 - 1.0).collect();
            let start = g.0.constant_f32("start", shape, &start);
            let handle = g.variable("", "v");
            g.assign(handle, start);
        });
        let handle = g.variable("", "v");
        let old = g.read(handle, TensorType::Float32, shape);
        let sum = g.tensor(TensorType::Float32, shape);
        g.node(B::ADD, BuiltinOptions::AddOptions(Box::default()), &[old, x], &[sum]);
        g.assign(handle, sum);
        g.output(sum);
        g.case(format!("{shape:?}"))
    };
    SHAPES.into_iter().filter_map(case).collect()
}

/// Cases of the operators of hash tables: names to numbers and numbers to names, filled by an initializer.
pub fn tables() -> Vec<Case> {
    use TensorType::{Int64, String};
    const NAMES: [&str; 4] = ["one", "two", "", "a longer name"];
    const NUMBERS: [i64; 4] = [1, 0, -7, 1 << 40];
    let mut cases = Vec::new();
    for types @ [key, value] in [[String, Int64], [Int64, String]] {
        // Number of entries, and shape of the keys that are looked up.
        for (len, shape) in [(4, &[5][..]), (2, &[2, 3]), (0, &[1])] {
            let mut g = Graph::default();
            g.call_once(|g| {
                let names = constant_strings(&mut g.0, &[len as i32], &NAMES[..len]);
                let numbers = g.0.constant_i64("numbers", &[len as i32], &NUMBERS[..len]);
                let table = g.table(types);
                g.import(table, if key == String { [names, numbers] } else { [numbers, names] });
            });
            let table = g.table(types);
            let (keys, default) = if key == String {
                let count = shape.iter().product::<i32>() as usize;
                let wanted: Vec<&str> = ["none"].into_iter().chain(NAMES).cycle().take(count).collect();
                (constant_strings(&mut g.0, shape, &wanted), g.0.constant_i64("default", &[1], &[-1]))
            } else {
                (g.input(Int64, shape), constant_strings(&mut g.0, &[1], &["nothing"]))
            };
            g.find(table, keys, default, value, shape);
            g.size(table);
            cases.extend(g.case(format!("{key} to {value}, {len} {shape:?}")));
        }
    }
    cases
}
