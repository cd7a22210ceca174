//! A picture to draw on.

use std::convert::Infallible;

use embedded_graphics::mono_font::iso_8859_1::{FONT_6X12, FONT_7X13, FONT_7X13_BOLD, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, raw::RawU24};
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{
    Circle, Line, Polyline, PrimitiveStyle, Rectangle, RoundedRectangle,
};
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};
use engraft_core::RgbImage;

use crate::style::Rgb;

/// A letter's shape and size.
#[derive(Clone, Copy)]
pub(crate) enum Font {
    /// Ticks.
    Small,
    /// Labels.
    Normal,
    /// What stands above a row.
    Bold,
    /// What stands above everything.
    Title,
}

/// A picture to draw on.
pub(crate) struct Canvas {
    image: RgbImage,
}

impl Font {
    fn mono(self) -> &'static MonoFont<'static> {
        match self {
            Self::Small => &FONT_6X12,
            Self::Normal => &FONT_7X13,
            Self::Bold => &FONT_7X13_BOLD,
            Self::Title => &FONT_10X20,
        }
    }

    /// Columns of `text`.
    pub(crate) fn width(self, text: &str) -> usize {
        text.chars().count() * self.mono().character_size.width as usize
    }

    /// `text`, cut where it would be wider than `width`.
    pub(crate) fn fit(self, text: &str, width: usize) -> String {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if self.width(&text) <= width {
            return text;
        }
        let room = width / self.mono().character_size.width as usize;
        let kept: String = text.chars().take(room.saturating_sub(3)).collect();
        format!("{}...", kept.trim_end())
    }
}

fn color(rgb: Rgb) -> Rgb888 {
    Rgb888::new(rgb[0], rgb[1], rgb[2])
}

fn point(x: usize, y: usize) -> Point {
    Point::new(x as i32, y as i32)
}

fn rectangle(x: usize, y: usize, width: usize, height: usize) -> Rectangle {
    Rectangle::new(point(x, y), Size::new(width as u32, height as u32))
}

impl Canvas {
    /// A picture of one colour.
    pub(crate) fn new(width: usize, height: usize, fill: Rgb) -> Self {
        Self { image: RgbImage::filled(width.max(1), height.max(1), fill) }
    }

    /// What was drawn.
    pub(crate) fn into_image(self) -> RgbImage {
        self.image
    }

    fn draw(&mut self, what: &impl Drawable<Color = Rgb888>) {
        let Ok(_) = what.draw(self);
    }

    /// Text whose upper edge is at `y`, and which starts, has its middle or ends at `x`.
    pub(crate) fn text(
        &mut self,
        text: &str,
        x: usize,
        y: usize,
        font: Font,
        ink: Rgb,
        to: Alignment,
    ) {
        let style = MonoTextStyle::new(font.mono(), color(ink));
        let placed = TextStyleBuilder::new().alignment(to).baseline(Baseline::Top).build();
        self.draw(&Text::with_text_style(text, point(x, y), style, placed));
    }

    /// A filled rectangle with round corners.
    pub(crate) fn block(&mut self, x: usize, y: usize, size: [usize; 2], radius: u32, fill: Rgb) {
        let shape = rectangle(x, y, size[0], size[1]);
        let shape = RoundedRectangle::with_equal_corners(shape, Size::new_equal(radius));
        self.draw(&shape.into_styled(PrimitiveStyle::with_fill(color(fill))));
    }

    /// A straight line.
    pub(crate) fn line(&mut self, from: [i32; 2], to: [i32; 2], width: u32, ink: Rgb) {
        let line = Line::new(from.into(), to.into());
        self.draw(&line.into_styled(PrimitiveStyle::with_stroke(color(ink), width)));
    }

    /// A line through points.
    pub(crate) fn polyline(&mut self, points: &[[i32; 2]], width: u32, ink: Rgb) {
        let points: Vec<Point> = points.iter().map(|&point| point.into()).collect();
        let line = Polyline::new(&points);
        self.draw(&line.into_styled(PrimitiveStyle::with_stroke(color(ink), width)));
    }

    /// A filled circle.
    pub(crate) fn dot(&mut self, middle: [i32; 2], diameter: u32, fill: Rgb) {
        let circle = Circle::with_center(middle.into(), diameter);
        self.draw(&circle.into_styled(PrimitiveStyle::with_fill(color(fill))));
    }

    /// Lays a picture down; what lies outside is cut off.
    pub(crate) fn paste(&mut self, picture: &RgbImage, x: usize, y: usize) {
        let width = picture.width().min(self.image.width().saturating_sub(x)) * 3;
        let (from, to) = (picture.width() * 3, self.image.width() * 3);
        let rows = self.image.pixels_mut().chunks_exact_mut(to).skip(y);
        for (row, source) in rows.zip(picture.pixels().chunks_exact(from)) {
            if width > 0 {
                row[x * 3..x * 3 + width].copy_from_slice(&source[..width]);
            }
        }
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.image.width() as u32, self.image.height() as u32)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        let (width, height) = (self.image.width(), self.image.height());
        for Pixel(at, ink) in pixels {
            if let (Ok(x), Ok(y)) = (usize::try_from(at.x), usize::try_from(at.y))
                && x < width
                && y < height
            {
                let [_, rgb @ ..] = RawU24::from(ink).into_inner().to_be_bytes();
                let start = (y * width + x) * 3;
                self.image.pixels_mut()[start..start + 3].copy_from_slice(&rgb);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_cut_off() {
        let mut canvas = Canvas::new(4, 4, [0; 3]);
        canvas.paste(&RgbImage::filled(3, 3, [9; 3]), 2, 2);
        canvas.paste(&RgbImage::filled(3, 3, [9; 3]), 5, 5);
        canvas.line([-5, 0], [9, 0], 1, [7; 3]);
        let image = canvas.into_image();
        assert_eq!(image.pixel(3, 3), [9; 3]);
        assert_eq!(image.pixel(1, 2), [0; 3]);
        assert_eq!(image.pixel(3, 0), [7; 3]);
    }

    #[test]
    fn text_that_is_too_wide_ends_in_dots() {
        assert_eq!(Font::Normal.fit("open the drawer", 7 * 15), "open the drawer");
        assert_eq!(Font::Normal.fit("open the drawer", 7 * 8), "open...");
        assert_eq!(Font::Normal.fit("two\nlines", 700), "two lines");
    }
}
