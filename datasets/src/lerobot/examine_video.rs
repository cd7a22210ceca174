//! Times of a video's frames, held against the episodes that point into it.

use std::collections::BTreeMap;
use std::path::Path;

use super::LerobotSource;
use super::examine::{FileRows, TOLERANCE_SECS};
use super::meta::VideoPlace;
use crate::parallel::in_parallel;
use crate::{DatasetError, Finding, chain};

impl LerobotSource {
    /// What is wrong with the videos; reads their indices and decodes nothing.
    pub(super) fn wrong_videos(&self, files: &BTreeMap<&Path, FileRows>) -> Vec<Finding> {
        let mut videos: BTreeMap<&Path, Vec<(usize, &VideoPlace)>> = BTreeMap::new();
        for (episode, meta) in self.metas.iter().enumerate() {
            for place in &meta.videos {
                videos.entry(&place.file).or_default().push((episode, place));
            }
        }
        let videos: Vec<_> = videos.into_iter().collect();
        let examined = in_parallel(
            videos.len(),
            |at| {
                let (file, places) = &videos[at];
                self.wrong_video(file, places, files)
            },
            &mut |_| {},
        );
        examined.into_iter().flatten().collect()
    }

    /// When each step of an episode was; nothing where its rows are not as many as metadata says,
    /// which is told elsewhere.
    fn times<'a>(&self, episode: usize, files: &'a BTreeMap<&Path, FileRows>) -> &'a [f64] {
        let meta = &self.metas[episode];
        let times = files.get(&*meta.file).map_or(&[][..], |file| file.times(meta.index));
        if times.len() == meta.num_steps { times } else { &[] }
    }

    fn wrong_video(
        &self,
        file: &Path,
        places: &[(usize, &VideoPlace)],
        files: &BTreeMap<&Path, FileRows>,
    ) -> Vec<Finding> {
        let name = file.display().to_string();
        let video = match self.videos.get(&self.root.join(file)) {
            Ok(video) => video,
            Err(error) => return vec![unreadable(&error)],
        };
        let episodes: Vec<VideoEpisode<'_>> = places
            .iter()
            .map(|&(episode, place)| VideoEpisode {
                episode,
                from_secs: place.from_secs,
                to_secs: place.to_secs,
                timestamps: self.times(episode, files),
            })
            .filter(|episode| !episode.timestamps.is_empty())
            .collect();
        video_findings(&VideoFacts {
            file: &name,
            frame_secs: video.times(),
            container_hz: usual_rate(video.times()),
            fps: f64::from(self.info.fps),
            episodes: &episodes,
        })
    }
}

fn unreadable(error: &DatasetError) -> Finding {
    let remedy = "copy the file again, or leave its episodes out: `--repair` does";
    Finding::error("unreadable-video", chain(error)).remedy(remedy).repairable()
}

/// Frames per second between most frames.
fn usual_rate(times: &[f64]) -> Option<f64> {
    let mut gaps: Vec<f64> = times.windows(2).map(|two| two[1] - two[0]).collect();
    gaps.sort_by(f64::total_cmp);
    gaps.get(gaps.len() / 2).filter(|gap| **gap > 0.0).map(|gap| 1.0 / gap)
}

/// A video and what is said of it.
#[derive(Debug, Clone)]
pub(super) struct VideoFacts<'a> {
    /// The file, as messages name it.
    pub(super) file: &'a str,
    /// When its frames are shown, in seconds, ascending.
    pub(super) frame_secs: &'a [f64],
    /// Frames per second, as the container has it.
    pub(super) container_hz: Option<f64>,
    /// Frames per second, as `info.json` has it.
    pub(super) fps: f64,
    /// The episodes that point into it.
    pub(super) episodes: &'a [VideoEpisode<'a>],
}

/// An episode that points into a video.
#[derive(Debug, Clone)]
pub(super) struct VideoEpisode<'a> {
    /// The episode's place in the dataset.
    pub(super) episode: usize,
    /// When it begins in the video.
    pub(super) from_secs: f64,
    /// When it ends in the video, where that is said.
    pub(super) to_secs: Option<f64>,
    /// The times of its steps, in seconds since it began.
    pub(super) timestamps: &'a [f64],
}

/// Frames that are missing or not where the times say, and ranges that are not those of the file.
pub(super) fn video_findings(video: &VideoFacts<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(hz) = video.container_hz
        && (hz / video.fps - 1.0).abs() > 1e-3
    {
        let message =
            format!("{} plays at {hz} frames per second, info.json says {}", video.file, video.fps);
        findings.push(
            Finding::error("video-rate", message).remedy("encode it at the rate of the data"),
        );
    }
    for episode in video.episodes {
        findings.extend(
            video.of_episode(episode).into_iter().map(|found| found.in_episode(episode.episode)),
        );
    }
    findings
}

impl VideoFacts<'_> {
    fn of_episode(&self, episode: &VideoEpisode<'_>) -> Vec<Finding> {
        let period = 1.0 / self.fps;
        let Some(&end) = self.frame_secs.last() else {
            return vec![Finding::error("video-short", format!("{} has no frame", self.file))];
        };
        let mut findings = Vec::new();
        let (mut beyond, mut off) = (Vec::new(), Vec::new());
        for (step, time) in episode.timestamps.iter().enumerate() {
            let wanted = episode.from_secs + time;
            if wanted > end + period / 2.0 {
                beyond.push((step, wanted));
            } else {
                off.push((step, wanted, self.nearest(wanted) - wanted));
            }
        }
        if let Some((step, wanted)) = beyond.first() {
            let message = format!(
                "{} ends at {end:.4} s, the episode needs a frame at {wanted:.4} s; {} of its \
                 steps have none",
                self.file,
                beyond.len()
            );
            findings.push(Finding::error("video-short", message).at_step(*step));
        }
        let length = episode.timestamps.len() as f64 * period;
        let claimed = episode.to_secs.map(|to| to - episode.from_secs);
        if let Some(claimed) = claimed.filter(|claimed| (claimed - length).abs() > period / 2.0) {
            let message = format!(
                "the episode's range in {} lasts {claimed:.4} s, its steps {length:.4} s",
                self.file
            );
            findings.push(Finding::error("video-range", message));
        }
        findings.extend(self.off_frames(&off, period));
        findings
    }

    /// Steps that have no frame at their time.
    fn off_frames(&self, steps: &[(usize, f64, f64)], period: f64) -> Option<Finding> {
        let is_off = |(_, _, off): &&(usize, f64, f64)| off.abs() > TOLERANCE_SECS;
        let count = steps.iter().filter(is_off).count();
        let (step, wanted, worst) =
            steps.iter().filter(is_off).max_by(|a, b| a.2.abs().total_cmp(&b.2.abs()))?;
        let same = steps.iter().all(|(_, _, off)| (off - worst).abs() < TOLERANCE_SECS);
        if count == steps.len() && count > 1 && same {
            let message = format!(
                "every step is {worst:.4} s from its frame in {}: `from_timestamp` is off",
                self.file
            );
            return Some(Finding::error("video-range", message));
        }
        let found = if worst.abs() > 0.75 * period {
            let first = steps.iter().find(|(_, _, off)| off.abs() > 0.75 * period)?;
            let missing = steps.iter().filter(|(_, _, off)| off.abs() > 0.75 * period).count();
            let message = format!(
                "{} has no frame at {:.4} s; {missing} of the episode's steps have none",
                self.file, first.1
            );
            Finding::error("video-missing-frames", message).at_step(first.0)
        } else {
            let message = format!(
                "the frame nearest to {wanted:.4} s in {} is {:.4} s away, {TOLERANCE_SECS} s are \
                 allowed; {count} steps are off",
                self.file,
                worst.abs()
            );
            Finding::error("video-timestamps", message).at_step(*step)
        };
        Some(found.remedy("encode the pictures again at the data's rate"))
    }

    fn nearest(&self, secs: f64) -> f64 {
        let after = self.frame_secs.partition_point(|frame| *frame < secs);
        let around = [after.checked_sub(1), Some(after)].into_iter().flatten();
        let frames = around.filter_map(|at| self.frame_secs.get(at).copied());
        let closer = |a: &f64, b: &f64| (a - secs).abs().total_cmp(&(b - secs).abs());
        frames.min_by(closer).unwrap_or(f64::INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        frames: &[f64],
        hz: f64,
        from: f64,
        to: f64,
        times: &[f64],
    ) -> Vec<(&'static str, Option<usize>)> {
        let episodes =
            [VideoEpisode { episode: 3, from_secs: from, to_secs: Some(to), timestamps: times }];
        let video = VideoFacts {
            file: "front.mp4",
            frame_secs: frames,
            container_hz: Some(hz),
            fps: 10.0,
            episodes: &episodes,
        };
        let findings = video_findings(&video).into_iter();
        findings.map(|finding| (finding.check, finding.step)).collect()
    }

    fn times(count: usize) -> Vec<f64> {
        (0..count).map(|at| at as f64 / 10.0).collect()
    }

    #[test]
    fn a_video_that_fits_is_left_alone() {
        assert_eq!(found(&times(9), 10.0, 0.4, 0.9, &times(5)), []);
    }

    #[test]
    fn each_defect_is_told_by_its_name() {
        let all = times(9);
        assert_eq!(found(&all, 30.0, 0.4, 0.9, &times(5)), [("video-rate", None)]);
        assert_eq!(found(&all, 10.0, 0.6, 1.1, &times(5)), [("video-short", Some(3))]);
        assert_eq!(found(&[], 10.0, 0.6, 1.1, &times(5)), [("video-short", None)]);
        assert_eq!(found(&all, 10.0, 0.0, 0.8, &times(5)), [("video-range", None)]);
        assert_eq!(found(&all, 10.0, 0.23, 0.73, &times(5)), [("video-range", None)]);
        let mut gap = all.clone();
        gap.remove(3);
        assert_eq!(found(&gap, 10.0, 0.1, 0.6, &times(5)), [("video-missing-frames", Some(2))]);
        let mut moved = all.clone();
        moved[5] += 0.02;
        assert_eq!(found(&moved, 10.0, 0.4, 0.9, &times(5)), [("video-timestamps", Some(1))]);
    }
}
