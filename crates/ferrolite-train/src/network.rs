//! Building small networks layer by layer, as float `.tflite` models.

use crate::TrainError;
use crate::random::Rng;
use ferrolite_model::schema::{
    ActivationFunctionType, Conv2DOptionsT, DepthwiseConv2DOptionsT, FullyConnectedOptionsT, Padding as PaddingCode,
    Pool2DOptionsT, ReducerOptionsT, ReshapeOptionsT, SoftmaxOptionsT,
};
use ferrolite_model::{BuiltinOperator, BuiltinOptions, Model, ModelBuilder, TensorId, TensorType};

/// Activation that a layer applies to its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Activation {
    /// The result as it is.
    #[default]
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
}

/// What happens at the borders of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Padding {
    /// Windows stay inside of the image.
    #[default]
    Valid,
    /// Zeros around it, so that the result is the image's size divided by the stride.
    Same,
}

/// Windows of a convolution or a pool: (height, width) each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Size.
    pub size: (usize, usize),
    /// Distance between windows.
    pub strides: (usize, usize),
    /// Borders.
    pub padding: Padding,
}

impl Window {
    /// A square window that moves by one, inside of the image.
    pub fn square(size: usize) -> Window {
        Window { size: (size, size), strides: (1, 1), padding: Padding::Valid }
    }

    fn output(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        let along = |n: usize, size: usize, stride: usize| match self.padding {
            _ if size == 0 || stride == 0 => None,
            Padding::Valid => n.checked_sub(size).map(|rest| rest / stride + 1),
            Padding::Same => Some(n.div_ceil(stride)),
        };
        Some((along(height, self.size.0, self.strides.0)?, along(width, self.size.1, self.strides.1)?))
    }
}

#[derive(Clone, Debug)]
enum Layer {
    Conv2D { filters: usize, window: Window, activation: Activation },
    DepthwiseConv2D { window: Window, activation: Activation },
    Pool2D { max: bool, window: Window },
    GlobalAveragePool2D,
    Flatten,
    Dense { units: usize, activation: Activation },
    Rescaling { scale: f32, offset: f32 },
    Softmax,
}

impl Layer {
    fn kind(&self) -> &'static str {
        match self {
            Layer::Conv2D { .. } => "conv2d",
            Layer::DepthwiseConv2D { .. } => "depthwise_conv2d",
            Layer::Pool2D { max: true, .. } => "max_pooling2d",
            Layer::Pool2D { max: false, .. } => "average_pooling2d",
            Layer::GlobalAveragePool2D => "global_average_pooling2d",
            Layer::Flatten => "flatten",
            Layer::Dense { .. } => "dense",
            Layer::Rescaling { .. } => "rescaling",
            Layer::Softmax => "softmax",
        }
    }
}

/// A chain of layers over images or vectors, like Keras' `Sequential`.
///
/// Weights start as Glorot-uniform random numbers, biases as zeros.
///
/// ```
/// use ferrolite_train::{Activation::*, Sequential};
///
/// let model = Sequential::new(&[28, 28, 1])
///     .conv_2d(16, 3, Relu)
///     .max_pool_2d(2)
///     .conv_2d(32, 3, Relu)
///     .flatten()
///     .dense(64, Relu)
///     .dense(10, None)
///     .build(42)?;
/// let output = model.subgraphs[0].outputs[0];
/// assert_eq!(model.subgraphs[0].tensors[output].shape_signature, [-1, 10]);
/// # Ok::<(), ferrolite_train::TrainError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sequential {
    shape: Vec<usize>,
    layers: Vec<Layer>,
    input: String,
    output: String,
}

impl Sequential {
    /// A network without layers for inputs of this shape, without the batch dimension.
    pub fn new(shape: &[usize]) -> Sequential {
        let input = if shape.len() == 3 { "image" } else { "input" };
        Sequential { shape: shape.to_vec(), layers: Vec::new(), input: input.into(), output: "output".into() }
    }

    /// Names of the model's input and output; `image` (or `input`) and `output` if not given.
    pub fn names(mut self, input: &str, output: &str) -> Sequential {
        (self.input, self.output) = (input.into(), output.into());
        self
    }

    fn with(mut self, layer: Layer) -> Sequential {
        self.layers.push(layer);
        self
    }

    /// A convolution with square windows inside of the image, stride 1.
    pub fn conv_2d(self, filters: usize, size: usize, activation: Activation) -> Sequential {
        self.conv_2d_window(filters, Window::square(size), activation)
    }

    /// A convolution.
    pub fn conv_2d_window(self, filters: usize, window: Window, activation: Activation) -> Sequential {
        self.with(Layer::Conv2D { filters, window, activation })
    }

    /// A convolution of every channel on its own, with square windows inside of the image, stride 1.
    pub fn depthwise_conv_2d(self, size: usize, activation: Activation) -> Sequential {
        self.depthwise_conv_2d_window(Window::square(size), activation)
    }

    /// A convolution of every channel on its own.
    pub fn depthwise_conv_2d_window(self, window: Window, activation: Activation) -> Sequential {
        self.with(Layer::DepthwiseConv2D { window, activation })
    }

    /// The largest value of every square of this size; a rest at the border is left out.
    pub fn max_pool_2d(self, size: usize) -> Sequential {
        self.max_pool_2d_window(Window { strides: (size, size), ..Window::square(size) })
    }

    /// The largest value of every window.
    pub fn max_pool_2d_window(self, window: Window) -> Sequential {
        self.with(Layer::Pool2D { max: true, window })
    }

    /// The mean of every square of this size; a rest at the border is left out.
    pub fn average_pool_2d(self, size: usize) -> Sequential {
        self.average_pool_2d_window(Window { strides: (size, size), ..Window::square(size) })
    }

    /// The mean of every window.
    pub fn average_pool_2d_window(self, window: Window) -> Sequential {
        self.with(Layer::Pool2D { max: false, window })
    }

    /// The mean of every channel over the whole image.
    pub fn global_average_pool_2d(self) -> Sequential {
        self.with(Layer::GlobalAveragePool2D)
    }

    /// The image as one vector.
    pub fn flatten(self) -> Sequential {
        self.with(Layer::Flatten)
    }

    /// A fully connected layer.
    pub fn dense(self, units: usize, activation: Activation) -> Sequential {
        self.with(Layer::Dense { units, activation })
    }

    /// x · scale + offset, which is not trained.
    pub fn rescaling(self, scale: f32, offset: f32) -> Sequential {
        self.with(Layer::Rescaling { scale, offset })
    }

    /// Probabilities from logits. Train on logits all the same: see [`crate::Loss`].
    pub fn softmax(self) -> Sequential {
        self.with(Layer::Softmax)
    }

    /// The model: one subgraph, one signature `serving_default`, batch dimension open.
    ///
    /// # Errors
    /// When a layer does not fit the shape before it.
    pub fn build(&self, seed: u64) -> Result<Model, TrainError> {
        if self.shape.is_empty() || self.layers.is_empty() {
            return Err(TrainError::usage("a network has an input shape and at least one layer"));
        }
        let mut graph = Graph { b: ModelBuilder::new(), layer: 0, kind: "input", name: String::new(), seed };
        let shape = graph.dims(&self.shape)?;
        let mut x = graph.b.input(self.input.as_str(), TensorType::Float32, &shape);
        let mut shape = self.shape.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let kind = layer.kind();
            let before = self.layers[..i].iter().filter(|l| l.kind() == kind).count();
            let number = if before == 0 { String::new() } else { format!("_{before}") };
            (graph.layer, graph.kind, graph.name) = (i, kind, format!("{kind}{number}"));
            (x, shape) = graph.add(layer, x, &shape)?;
        }
        graph.b.graph_mut().tensors[x].name = Some(self.output.clone());
        graph.b.output(x);
        graph.b.signature("serving_default");
        Ok(graph.b.build()?)
    }
}

/// A network being built, and the layer that is being added.
struct Graph {
    b: ModelBuilder,
    layer: usize,
    kind: &'static str,
    name: String,
    seed: u64,
}

impl Graph {
    fn error(&self, reason: impl Into<String>) -> TrainError {
        TrainError::Layer { layer: self.layer, kind: self.kind, reason: reason.into() }
    }

    /// A shape with an open batch dimension.
    fn dims(&self, shape: &[usize]) -> Result<Vec<i32>, TrainError> {
        let sizes = shape.iter().map(|&d| i32::try_from(d).ok().filter(|&d| d > 0));
        let elements = shape.iter().try_fold(1i32, |n, &d| n.checked_mul(i32::try_from(d).ok()?));
        let all: Option<Vec<i32>> = [Some(-1)].into_iter().chain(sizes).collect();
        all.filter(|_| elements.is_some()).ok_or_else(|| self.error(format!("gives shape {shape:?}")))
    }

    fn image(&self, shape: &[usize]) -> Result<(usize, usize, usize), TrainError> {
        match *shape {
            [height, width, channels] => Ok((height, width, channels)),
            _ => Err(self.error(format!("takes an image [height, width, channels], not {shape:?}"))),
        }
    }

    /// A tensor of random weights for so many inputs and outputs of a unit.
    fn kernel(&mut self, shape: &[usize], fan_in: usize, fan_out: usize) -> Result<TensorId, TrainError> {
        let dims = self.dims(shape)?;
        let limit = (6.0 / (fan_in + fan_out) as f32).sqrt();
        let mut rng = Rng::new(self.seed, self.layer as u64 + 1);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.uniform(limit)).collect();
        Ok(self.b.constant_f32(format!("{}/kernel", self.name), &dims[1..], &values))
    }

    fn bias(&mut self, units: usize) -> TensorId {
        self.b.constant_f32(format!("{}/bias", self.name), &[units as i32], &vec![0.0; units])
    }

    /// Appends a node with a new output of this shape.
    fn node(
        &mut self,
        op: BuiltinOperator,
        options: BuiltinOptions,
        inputs: &[TensorId],
        shape: Vec<usize>,
    ) -> Result<(TensorId, Vec<usize>), TrainError> {
        let dims = self.dims(&shape)?;
        let output = self.b.tensor(self.name.as_str(), TensorType::Float32, &dims);
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.b.node(op, 1, options, &inputs, &[output]);
        Ok((output, shape))
    }

    fn add(&mut self, layer: &Layer, x: TensorId, shape: &[usize]) -> Result<(TensorId, Vec<usize>), TrainError> {
        match *layer {
            Layer::Conv2D { filters, window, activation } => {
                let (height, width, channels) = self.image(shape)?;
                let (out_height, out_width) = self.windows(&window, height, width)?;
                let taps = window.size.0 * window.size.1;
                let kernel = [filters, window.size.0, window.size.1, channels];
                let kernel = self.kernel(&kernel, taps * channels, taps * filters)?;
                let bias = self.bias(filters);
                let options = BuiltinOptions::Conv2DOptions(Box::new(Conv2DOptionsT {
                    padding: code(window.padding),
                    stride_h: window.strides.0 as i32,
                    stride_w: window.strides.1 as i32,
                    fused_activation_function: fused(activation),
                    ..Default::default()
                }));
                self.node(BuiltinOperator::CONV_2D, options, &[x, kernel, bias], vec![out_height, out_width, filters])
            }
            Layer::DepthwiseConv2D { window, activation } => {
                let (height, width, channels) = self.image(shape)?;
                let (out_height, out_width) = self.windows(&window, height, width)?;
                let taps = window.size.0 * window.size.1;
                let kernel = self.kernel(&[1, window.size.0, window.size.1, channels], taps * channels, taps)?;
                let bias = self.bias(channels);
                let options = BuiltinOptions::DepthwiseConv2DOptions(Box::new(DepthwiseConv2DOptionsT {
                    padding: code(window.padding),
                    stride_h: window.strides.0 as i32,
                    stride_w: window.strides.1 as i32,
                    depth_multiplier: 1,
                    fused_activation_function: fused(activation),
                    ..Default::default()
                }));
                let shape = vec![out_height, out_width, channels];
                self.node(BuiltinOperator::DEPTHWISE_CONV_2D, options, &[x, kernel, bias], shape)
            }
            Layer::Pool2D { max, window } => {
                let (height, width, channels) = self.image(shape)?;
                let (out_height, out_width) = self.windows(&window, height, width)?;
                let options = BuiltinOptions::Pool2DOptions(Box::new(Pool2DOptionsT {
                    padding: code(window.padding),
                    stride_h: window.strides.0 as i32,
                    stride_w: window.strides.1 as i32,
                    filter_height: window.size.0 as i32,
                    filter_width: window.size.1 as i32,
                    ..Default::default()
                }));
                let op = if max { BuiltinOperator::MAX_POOL_2D } else { BuiltinOperator::AVERAGE_POOL_2D };
                self.node(op, options, &[x], vec![out_height, out_width, channels])
            }
            Layer::GlobalAveragePool2D => {
                let (_, _, channels) = self.image(shape)?;
                let axes = self.b.constant_i32(format!("{}/axes", self.name), &[2], &[1, 2]);
                let options = BuiltinOptions::ReducerOptions(Box::new(ReducerOptionsT { keep_dims: false }));
                self.node(BuiltinOperator::MEAN, options, &[x, axes], vec![channels])
            }
            Layer::Flatten => {
                let features: usize = shape.iter().product();
                let new_shape = self.dims(&[features])?;
                let wanted = self.b.constant_i32(format!("{}/shape", self.name), &[2], &new_shape);
                let options = BuiltinOptions::ReshapeOptions(Box::new(ReshapeOptionsT { new_shape: Some(new_shape) }));
                self.node(BuiltinOperator::RESHAPE, options, &[x, wanted], vec![features])
            }
            Layer::Dense { units, activation } => {
                let &[features] = shape else {
                    return Err(self.error(format!("takes a vector, not {shape:?}; flatten it first")));
                };
                let kernel = self.kernel(&[units, features], features, units)?;
                let bias = self.bias(units);
                let options = BuiltinOptions::FullyConnectedOptions(Box::new(FullyConnectedOptionsT {
                    fused_activation_function: fused(activation),
                    ..Default::default()
                }));
                self.node(BuiltinOperator::FULLY_CONNECTED, options, &[x, kernel, bias], vec![units])
            }
            Layer::Rescaling { scale, offset } => {
                let factor = self.b.constant_f32(format!("{}/scale", self.name), &[], &[scale]);
                let options = BuiltinOptions::MulOptions(Box::default());
                let scaled = self.node(BuiltinOperator::MUL, options, &[x, factor], shape.to_vec())?;
                if offset == 0.0 {
                    return Ok(scaled);
                }
                let summand = self.b.constant_f32(format!("{}/offset", self.name), &[], &[offset]);
                let options = BuiltinOptions::AddOptions(Box::default());
                self.node(BuiltinOperator::ADD, options, &[scaled.0, summand], shape.to_vec())
            }
            Layer::Softmax => {
                let options = BuiltinOptions::SoftmaxOptions(Box::new(SoftmaxOptionsT { beta: 1.0 }));
                self.node(BuiltinOperator::SOFTMAX, options, &[x], shape.to_vec())
            }
        }
    }

    fn windows(&self, window: &Window, height: usize, width: usize) -> Result<(usize, usize), TrainError> {
        let fits = window.strides.0.max(window.strides.1) <= i32::MAX as usize;
        let output = window.output(height, width).filter(|_| fits);
        output.ok_or_else(|| self.error(format!("{window:?} does not fit an image of {height} × {width}")))
    }
}

fn code(padding: Padding) -> PaddingCode {
    match padding {
        Padding::Valid => PaddingCode::VALID,
        Padding::Same => PaddingCode::SAME,
    }
}

fn fused(activation: Activation) -> ActivationFunctionType {
    match activation {
        Activation::None => ActivationFunctionType::NONE,
        Activation::Relu => ActivationFunctionType::RELU,
        Activation::Relu6 => ActivationFunctionType::RELU6,
    }
}
