//! Weights, packed into panels that a tile reads from front to back.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use burn::tensor::Bytes;
use burn_flex::FlexTensor;

use crate::int8;
use crate::threads::{Shared, for_each};
use crate::winograd;

/// What packing a value costs, in multiplications.
const PACKING_COST: usize = 16;

/// Columns of a panel: two of the widest vectors.
const PANEL: usize = 32;

/// A matrix `[k, n]`, cut into panels of 32 columns that lie one after another, each row by row.
/// The last panel has 16 columns where no more are left; what it has beyond `n` is zero.
#[derive(Debug)]
pub(crate) struct Panels {
    data: Vec<f32>,
    k: usize,
    n: usize,
}

impl Panels {
    /// Packs the matrix whose value at row `k` and column `n` is `values[rows[k] + n * step]`.
    pub(crate) fn pack(values: &[f32], rows: &[usize], n: usize, step: usize) -> Self {
        let k = rows.len();
        let mut packed = Self { data: Vec::new(), k, n };
        let total: usize = (0..packed.len()).map(|panel| k * packed.width(panel)).sum();
        packed.data = vec![0.0; total];
        // In the order of memory, not of the rows: weights are read from front to back.
        let mut order: Vec<(usize, usize)> = rows.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let data = Shared(packed.data.as_mut_ptr());
        for_each(packed.len(), total * PACKING_COST, |panel| {
            let (first, width) = (Self::first(panel), packed.width(panel));
            let columns = packed.columns(panel);
            // SAFETY: each task has a panel for its own.
            let panel = unsafe { data.part(first * k, k * width) };
            for &(row, place) in &order {
                let from = &values[row + first * step..];
                let to = &mut panel[place * width..][..columns];
                if step == 1 {
                    to.copy_from_slice(&from[..columns]);
                } else {
                    for (to, from) in to.iter_mut().zip(from.iter().step_by(step)) {
                        *to = *from;
                    }
                }
            }
        });
        packed
    }

    /// A convolution's weights by 3 x 3, `[9 * ci, co]`, as [`winograd`] multiplies them:
    /// `[16 * ci, co]`.
    pub(crate) fn transformed(&self) -> Self {
        let (k, grown) = (self.k, self.k / 9 * winograd::PLACES);
        let mut data = vec![0.0; self.data.len() / k.max(1) * grown];
        let to = Shared(data.as_mut_ptr());
        for_each(self.len(), data.len() * 2, |panel| {
            let (first, width) = (Self::first(panel), self.width(panel));
            // SAFETY: each task has a panel for its own.
            let to = unsafe { to.part(first * grown, grown * width) };
            winograd::transform_panel(self.panel(panel), width, to);
        });
        Self { data, k: grown, n: self.n }
    }

    /// The most columns of a panel.
    pub(crate) const WIDEST: usize = PANEL;

    /// Number of panels.
    pub(crate) fn len(&self) -> usize {
        self.n.div_ceil(PANEL)
    }

    /// Rows of the matrix.
    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// Columns of the matrix.
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// The panels of one of `shares` tasks.
    pub(crate) fn share(&self, share: usize, shares: usize) -> Range<usize> {
        self.len() * share / shares..self.len() * (share + 1) / shares
    }

    /// First column of a panel.
    pub(crate) fn first(panel: usize) -> usize {
        panel * PANEL
    }

    /// Columns of the matrix that a panel has.
    pub(crate) fn columns(&self, panel: usize) -> usize {
        (self.n - panel * PANEL).min(PANEL)
    }

    /// Values between two rows of a panel.
    pub(crate) fn width(&self, panel: usize) -> usize {
        self.columns(panel).next_multiple_of(16)
    }

    /// Where the panel after this one begins, or this one if it is the last of `share`.
    pub(crate) fn next(&self, panel: usize, share: &Range<usize>) -> *const f32 {
        let next = if panel + 1 < share.end { panel + 1 } else { panel };
        self.panel(next).as_ptr()
    }

    /// A panel's values, `[k, width]`.
    pub(crate) fn panel(&self, panel: usize) -> &[f32] {
        &self.data[panel * PANEL * self.k..][..self.k * self.width(panel)]
    }
}

/// How a tensor of weights is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// `[co, ci, kh, kw]` to rows in the order of kernel line, kernel column, input channel.
    Convolution,
    /// `[co, ci, 3, 3]` as [`winograd`] multiplies them.
    Winograd,
    /// `[c, 1, kh, kw]` to one row per place of the kernel.
    Depthwise,
    /// `[k, n]` as it is.
    Product,
    /// `[k, n]` in bytes.
    ProductInBytes,
    /// `[co, ci, 1, 1]` in bytes.
    PixelInBytes,
}

impl Form {
    fn pack(self, values: &[f32], shape: &[usize]) -> Panels {
        let places = |channels: usize, plane: usize| {
            (0..plane).flat_map(move |place| (0..channels).map(move |c| c * plane + place))
        };
        match (self, shape) {
            (Self::Convolution, &[out, channels, height, width]) => {
                let rows: Vec<_> = places(channels, height * width).collect();
                Panels::pack(values, &rows, out, channels * height * width)
            }
            (Self::Winograd, shape) => Self::Convolution.pack(values, shape).transformed(),
            (Self::Depthwise, &[channels, _, height, width]) => {
                let rows: Vec<_> = places(1, height * width).collect();
                Panels::pack(values, &rows, channels, height * width)
            }
            (Self::Product, &[k, n]) => {
                let rows: Vec<_> = (0..k).map(|row| row * n).collect();
                Panels::pack(values, &rows, n, 1)
            }
            (Self::ProductInBytes, &[k, n]) => {
                let rows: Vec<_> = (0..k).map(|row| row * n).collect();
                int8::words(values, &rows, n, 1)
            }
            (Self::PixelInBytes, &[out, channels, 1, 1]) => {
                let rows: Vec<_> = (0..channels).collect();
                int8::words(values, &rows, out, channels)
            }
            (form, shape) => unreachable!("{form:?} of {shape:?}"),
        }
    }
}

/// Packed weights and the storage they were packed from.
///
/// While the weak reference lives, no other tensor can have that address, and whoever changes the
/// values of a shared or watched storage gets a new one: so an address that is still alive holds
/// what was packed.
struct Kept {
    source: Weak<Bytes>,
    panels: Arc<Panels>,
}

type Key = (usize, Vec<usize>, Form);

static KEPT: LazyLock<Mutex<HashMap<Key, Kept>>> = LazyLock::new(Mutex::default);

/// The panels of a tensor. With `keep` they are packed once and live as long as it.
pub(crate) fn panels(weight: &FlexTensor, form: Form, keep: bool) -> Arc<Panels> {
    if keep && is_stand_in(weight) {
        return packed_away(weight, form);
    }
    let weight = weight.to_contiguous();
    let key = key(&weight, form);
    if let Some(panels) = keep.then(|| find(&key)).flatten() {
        return panels;
    }
    let panels = Arc::new(form.pack(weight.storage(), &key.1));
    if keep {
        keep_for(&weight, key, panels.clone());
    }
    panels
}

/// Packs `weight` for as long as `stand_in` lives: one value, expanded to its shape.
pub(crate) fn pack_away(weight: &FlexTensor, stand_in: &FlexTensor, form: Form) {
    assert!(is_stand_in(stand_in), "one value in the place of all");
    let panels = form.pack(weight.to_contiguous().storage(), weight.layout().shape());
    keep_for(stand_in, key(stand_in, form), Arc::new(panels));
}

/// The panels that a tensor stands in for. Those of a convolution are transformed when that is
/// first asked for, and are found in that form from then on, whatever is asked for.
fn packed_away(stand_in: &FlexTensor, form: Form) -> Arc<Panels> {
    let key = |form| key(stand_in, form);
    let transformed = || find(&key(Form::Winograd));
    let found = match form {
        Form::Winograd => transformed().or_else(|| {
            let panels = Arc::new(find(&key(Form::Convolution))?.transformed());
            keep_for(stand_in, key(Form::Winograd), panels.clone());
            kept().remove(&key(Form::Convolution));
            Some(panels)
        }),
        form => find(&key(form)),
    };
    // Somebody else may have transformed them meanwhile.
    found.or_else(transformed).expect("panels live as long as what stands in for them")
}

/// Whether a tensor is one value in the place of many.
fn is_stand_in(weight: &FlexTensor) -> bool {
    let layout = weight.layout();
    let mut axes = layout.shape().iter().zip(layout.strides());
    layout.num_elements() > 1 && axes.all(|(&size, &stride)| size == 1 || stride == 0)
}

fn key(weight: &FlexTensor, form: Form) -> Key {
    (Arc::as_ptr(&weight.data_arc()).addr(), weight.layout().shape().to_vec(), form)
}

fn kept() -> MutexGuard<'static, HashMap<Key, Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find(key: &Key) -> Option<Arc<Panels>> {
    let kept = kept();
    let found = kept.get(key).filter(|found| found.source.strong_count() > 0)?;
    Some(found.panels.clone())
}

fn keep_for(weight: &FlexTensor, key: Key, panels: Arc<Panels>) {
    let mut kept = kept();
    kept.retain(|_, kept| kept.source.strong_count() > 0);
    kept.insert(key, Kept { source: Arc::downgrade(&weight.data_arc()), panels });
}
