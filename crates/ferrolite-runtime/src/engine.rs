//! What the graphs of one interpreter share: options, threads, resources, and the subgraphs that nodes call.

use crate::graph::Graph;
use crate::plan::{CalleeShapes, Context, MAX_DEPTH};
use crate::{Options, RuntimeError};
use ferrolite_kernels::ThreadPool;
use ferrolite_model::Model;
use ferrolite_ops::{Argument, OpError, Resources, Session, TensorValue, output_type};
use std::sync::Arc;

/// The surroundings in which a [`Graph`] is planned and run.
pub(crate) struct Engine {
    pub(crate) model: Arc<Model>,
    pub(crate) options: Options,
    pub(crate) pool: Arc<ThreadPool>,
    pub(crate) resources: Arc<Resources>,
    /// Subgraphs that have been called, with the plan for the shapes of the last call. One that is running is not here.
    callees: Vec<Option<Box<Graph>>>,
    depth: usize,
    /// Memory of all callees.
    callee_bytes: usize,
}

impl Engine {
    pub(crate) fn new(model: Arc<Model>, options: Options) -> Engine {
        let model = output_type::settle(&model).map_or(model, Arc::new);
        let own = || Arc::new(Resources::with_limit(options.limits.max_total_bytes));
        Engine {
            model,
            pool: Arc::new(ThreadPool::new(options.threads.max(1))),
            resources: options.resources.clone().unwrap_or_else(own),
            options,
            callees: Vec::new(),
            depth: 0,
            callee_bytes: 0,
        }
    }

    pub(crate) fn context(&self, subgraph: usize) -> Context<'_> {
        let mut limits = self.options.limits;
        limits.max_total_bytes = limits.max_total_bytes.saturating_sub(self.callee_bytes);
        Context {
            model: &self.model,
            subgraph,
            catalog: &self.options.catalog,
            delegates: &self.options.delegates,
            isa: self.options.isa,
            pool: &self.pool,
            resources: &self.resources,
            limits,
            preserve_all: self.options.preserve_all && self.depth == 0,
            cache_bytes: self.options.cache_bytes,
            depth: self.depth,
            callees: CalleeShapes::default(),
        }
    }

    /// Refuses operators that are not known, also those of subgraphs that are called only later.
    pub(crate) fn check_operators(&self, subgraph: usize) -> Result<(), RuntimeError> {
        let subgraphs = &self.model.subgraphs;
        let mut seen = vec![false; subgraphs.len()];
        let mut open = vec![subgraph];
        while let Some(index) = open.pop() {
            if seen.get(index).copied().unwrap_or(true) {
                continue;
            }
            seen[index] = true;
            for (node, it) in subgraphs[index].nodes.iter().enumerate() {
                let code = self.model.operator(it);
                let op = self.options.catalog.find(code);
                let op = op.ok_or_else(|| RuntimeError::unknown_operator(&self.model, index, node))?;
                if op.runs_subgraphs() {
                    open.extend(it.called_subgraphs().into_iter().filter_map(|called| usize::try_from(called).ok()));
                }
            }
        }
        Ok(())
    }

    /// Runs a subgraph, planned for these shapes if it is not yet.
    fn run_callee(
        &mut self,
        graph: &mut Option<Box<Graph>>,
        subgraph: usize,
        inputs: &mut [Argument<'_>],
        outputs: &mut Vec<TensorValue>,
    ) -> Result<(), RuntimeError> {
        let graph = match graph {
            Some(graph) => graph,
            None => graph.insert(Box::new(Graph::new(self, subgraph)?)),
        };
        graph.call(self, inputs, outputs)
    }
}

impl Session for Engine {
    fn call(
        &mut self,
        subgraph: usize,
        inputs: &mut [Argument<'_>],
        outputs: &mut Vec<TensorValue>,
    ) -> Result<(), OpError> {
        if self.depth >= MAX_DEPTH {
            return Err(OpError::invalid(format!("subgraphs call each other more than {MAX_DEPTH} deep")));
        }
        if self.callees.is_empty() {
            self.callees.resize_with(self.model.subgraphs.len(), || None);
        }
        let mut graph = self.callees.get_mut(subgraph).and_then(Option::take);
        self.callee_bytes -= graph.as_deref().map_or(0, Graph::bytes);
        self.depth += 1;
        let result = self.run_callee(&mut graph, subgraph, inputs, outputs);
        self.depth -= 1;
        if let Some(graph) = graph {
            self.callee_bytes += graph.bytes();
            self.callees[subgraph] = Some(graph);
        }
        result.map_err(|e| OpError::invalid(e.to_string()))
    }

    fn resources(&self) -> &Resources {
        &self.resources
    }

    fn max_iterations(&self) -> u64 {
        self.options.limits.max_iterations
    }
}
