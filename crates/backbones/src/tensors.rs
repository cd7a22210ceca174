//! Weight files as named tensors, and named tensors into modules.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::store::pytorch_reader::{self, PytorchReader};
use burn::store::{ApplyError, ModuleSnapshot, PyTorchToBurnAdapter, bridge};
use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::SafeTensors;

use crate::{Architecture, WeightsError};

/// The tensors of a weight file under their names, in the layout of PyTorch.
///
/// Floats are 32 bits wide here, whatever they are in the file.
#[derive(Debug, Clone, Default)]
pub struct NamedTensors {
    tensors: BTreeMap<String, TensorData>,
}

/// The names at which a file and a module differ.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) missing: Vec<String>,
    pub(crate) left_over: Vec<String>,
    pub(crate) other: Vec<String>,
}

impl NamedTensors {
    /// Reads a file: PyTorch's zip and legacy streams (`.pth`, `.pt`, `.ckpt`, `.tar`) and
    /// safetensors, told apart by their first bytes. Nested dictionaries become dotted names.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is damaged, or is of another format.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        let head = read_head(path).map_err(|source| WeightsError::Io {
            action: "read weight file",
            path: path.into(),
            source,
        })?;
        let tensors = if head[8] == b'{' { read_safetensors(path) } else { read_pytorch(path) };
        let tensors =
            tensors.map_err(|reason| WeightsError::Format { reason, path: path.to_owned() })?;
        if tensors.is_empty() {
            let reason = "there is no tensor in it".to_owned();
            return Err(WeightsError::Format { reason, path: path.to_owned() });
        }
        Ok(Self { tensors })
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The shape of one tensor.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|data| data.shape().to_vec())
    }

    /// One tensor.
    pub fn get(&self, name: &str) -> Option<&TensorData> {
        self.tensors.get(name)
    }

    /// Adds a tensor, and gives back the one that had its name.
    pub fn insert(&mut self, name: impl Into<String>, data: TensorData) -> Option<TensorData> {
        self.tensors.insert(name.into(), data)
    }

    /// Takes one tensor out.
    pub fn remove(&mut self, name: &str) -> Option<TensorData> {
        self.tensors.remove(name)
    }

    /// Takes out every tensor whose name starts with `prefix`, and the prefix off their names.
    ///
    /// ```
    /// # use burn::tensor::TensorData;
    /// # use engraft_backbones::NamedTensors;
    /// let mut all = NamedTensors::default();
    /// all.insert("vit.cls_token", TensorData::from([0.0]));
    /// all.insert("conv.stem.bias", TensorData::from([0.0]));
    /// let vit = all.split_off("vit.");
    /// assert_eq!(vit.names().collect::<Vec<_>>(), ["cls_token"]);
    /// assert_eq!(all.names().collect::<Vec<_>>(), ["conv.stem.bias"]);
    /// ```
    #[must_use = "the tensors taken out are in the result"]
    pub fn split_off(&mut self, prefix: &str) -> Self {
        let all = std::mem::take(&mut self.tensors);
        let (inside, outside) = all.into_iter().partition(|(name, _)| name.starts_with(prefix));
        self.tensors = outside;
        let inside: BTreeMap<String, TensorData> = inside;
        let tensors =
            inside.into_iter().map(|(name, data)| (name[prefix.len()..].to_owned(), data));
        Self { tensors: tensors.collect() }
    }

    /// The architectures that these tensors could be, under whatever prefix; more than one
    /// where two have the same layout (DINO and MAE do for ViT-B/16), none where a tensor is
    /// missing. Tensors beside the network do not matter. Nothing is computed on `device`.
    pub fn detect(&self, device: &Device) -> Vec<Architecture> {
        crate::layout::detect(self, device)
    }

    /// Fills `module` with these tensors. `network` is what messages call it.
    ///
    /// Linear weights are transposed and norms renamed on the way; names of enum variants are
    /// not part of a tensor's name.
    ///
    /// # Errors
    ///
    /// When a parameter of the module is missing here, a tensor is left over, or one has another
    /// shape. The module is then partly filled and of no use.
    pub fn load_into<M: ModuleSnapshot>(
        self,
        module: &mut M,
        network: &str,
    ) -> Result<(), WeightsError> {
        let problems = self.apply(module);
        problems.into_result(network, String::new())
    }

    pub(crate) fn apply<M: ModuleSnapshot>(self, module: &mut M) -> Problems {
        let tensors = self.tensors.into_iter();
        let tensors = tensors.map(|(name, data)| bridge::from_data(data, name, None)).collect();
        let result = module.apply(tensors, None, Some(Box::new(PyTorchToBurnAdapter)), true);
        let mut problems = Problems {
            // With a filter Burn calls a tensor "skipped", not "missing". There is no filter.
            missing: result.missing.iter().map(|(path, _)| as_in_pytorch(path)).collect(),
            left_over: result.unused,
            other: Vec::new(),
        };
        problems.missing.extend(result.skipped.iter().map(|path| as_in_pytorch(path)));
        problems.other.extend(result.errors.iter().map(|error| match error {
            ApplyError::ShapeMismatch { path, expected, found } => {
                let name = as_in_pytorch(path);
                format!(
                    "`{name}` has shape {:?} instead of {:?}",
                    found.to_vec(),
                    expected.to_vec()
                )
            }
            other => other.to_string(),
        }));
        problems
    }
}

impl FromIterator<(String, TensorData)> for NamedTensors {
    fn from_iter<T: IntoIterator<Item = (String, TensorData)>>(tensors: T) -> Self {
        Self { tensors: tensors.into_iter().collect() }
    }
}

impl IntoIterator for NamedTensors {
    type Item = (String, TensorData);
    type IntoIter = std::collections::btree_map::IntoIter<String, TensorData>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}

impl Problems {
    pub(crate) fn into_result(self, network: &str, hint: String) -> Result<(), WeightsError> {
        let mut parts = Vec::new();
        for (names, what) in [(&self.missing, "missing"), (&self.left_over, "left over")] {
            if !names.is_empty() {
                let noun = if names.len() == 1 { "tensor" } else { "tensors" };
                parts.push(format!("{} {noun} {what} ({})", names.len(), first_few(names)));
            }
        }
        parts.extend(self.other.iter().take(3).cloned());
        if self.other.len() > 3 {
            parts.push(format!("and {} more", self.other.len() - 3));
        }
        if parts.is_empty() {
            return Ok(());
        }
        Err(WeightsError::Mismatch {
            network: network.to_owned(),
            problems: parts.join("; "),
            hint,
        })
    }
}

fn first_few(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(4).map(|name| format!("`{name}`")).collect();
    let rest = if names.len() > 4 { ", ..." } else { "" };
    format!("{}{rest}", shown.join(", "))
}

/// Burn calls a norm's weight `gamma`.
fn as_in_pytorch(path: &str) -> String {
    match path.rsplit_once('.') {
        Some((module, "gamma")) => format!("{module}.weight"),
        Some((module, "beta")) => format!("{module}.bias"),
        _ => path.to_owned(),
    }
}

/// The name and shape of every parameter of `module`, in the layout of PyTorch.
pub(crate) fn parameter_shapes<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    #[derive(Default)]
    struct Shapes {
        path: Vec<String>,
        containers: Vec<String>,
        found: BTreeMap<String, Vec<usize>>,
    }
    impl ModuleVisitor for Shapes {
        fn enter_module(&mut self, name: &str, container: &str) {
            if !container.starts_with("Enum:") {
                self.path.push(name.to_owned());
            }
            self.containers.push(container.to_owned());
        }
        fn exit_module(&mut self, _name: &str, container: &str) {
            if !container.starts_with("Enum:") {
                self.path.pop();
            }
            self.containers.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let name = as_in_pytorch(&self.path.join("."));
            let mut shape = param.lazy_shape().to_vec();
            let inside = self.containers.iter().rev();
            let mut structs = inside.filter(|container| container.starts_with("Struct:"));
            if structs.next().is_some_and(|container| container == "Struct:Linear") {
                shape.reverse();
            }
            self.found.insert(name, shape);
        }
    }
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    shapes.found
}

/// The first nine bytes, zeros where the file is shorter.
fn read_head(path: &Path) -> std::io::Result<[u8; 9]> {
    use std::io::Read;
    let mut head = Vec::new();
    fs::File::open(path)?.take(9).read_to_end(&mut head)?;
    head.resize(9, 0);
    Ok(head.try_into().unwrap_or_default())
}

fn read_safetensors(path: &Path) -> Result<BTreeMap<String, TensorData>, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| error.to_string())?;
    let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        use safetensors::Dtype;
        let dtype = match view.dtype() {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            Dtype::U8 => DType::U8,
            other => {
                return Err(format!("tensor `{name}` is of type {other:?}, which is not read"));
            }
        };
        Ok((name, data(view.data().to_vec(), view.shape(), dtype)))
    };
    file.tensors().into_iter().map(tensor).collect()
}

fn read_pytorch(path: &Path) -> Result<BTreeMap<String, TensorData>, String> {
    let reader = PytorchReader::new(path).map_err(|error| one_line(&error.to_string()))?;
    let tensor = |(name, tensor): (String, pytorch_reader::Tensor)| {
        use pytorch_reader::DType as Found;
        let dtype = match tensor.dtype() {
            Found::F64 => DType::F64,
            Found::F32 => DType::F32,
            Found::F16 => DType::F16,
            Found::BF16 => DType::BF16,
            Found::I64 => DType::I64,
            Found::I32 => DType::I32,
            Found::U8 | Found::Bool => DType::U8,
            other => {
                return Err(format!("tensor `{name}` is of type {other:?}, which is not read"));
            }
        };
        let bytes = tensor.read().map_err(|error| one_line(&error.to_string()))?;
        Ok((name, data(bytes, tensor.shape(), dtype)))
    };
    reader.into_tensors().into_iter().map(tensor).collect()
}

fn data(bytes: Vec<u8>, shape: &[usize], dtype: DType) -> TensorData {
    let data = TensorData::from_bytes_vec(bytes, shape.to_vec(), dtype);
    if dtype.is_float() { data.convert::<f32>() } else { data }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
