//! The binary heap of the moments at which servers become free, and a heap of events with what they are of.

/// One moment for each server. The least is replaced in one pass down, which is an arrival's whole work.
#[derive(Clone, Debug)]
pub struct ServerHeap {
    free_at: Vec<f64>,
}

impl ServerHeap {
    pub fn idle(servers: usize) -> ServerHeap {
        ServerHeap { free_at: vec![0.0; servers.max(1)] }
    }

    /// The moment at which a server is free first.
    #[inline]
    pub fn least(&self) -> f64 {
        self.free_at[0]
    }

    #[inline]
    pub fn replace_least(&mut self, moment: f64) {
        let heap = self.free_at.as_mut_slice();
        let len = heap.len();
        let mut hole = 0;
        loop {
            let mut child = 2 * hole + 1;
            if child + 1 < len {
                // Without a branch: which of two children is less is a coin toss for the predictor.
                child += usize::from(heap[child + 1] < heap[child]);
            } else if child >= len {
                break;
            }
            if moment <= heap[child] {
                break;
            }
            heap[hole] = heap[child];
            hole = child;
        }
        heap[hole] = moment;
    }

    pub fn moments(&self) -> &[f64] {
        &self.free_at
    }

    /// A heap of the given moments.
    pub fn of(mut moments: Vec<f64>) -> ServerHeap {
        moments.sort_by(f64::total_cmp);
        if moments.is_empty() {
            moments.push(0.0);
        }
        ServerHeap { free_at: moments }
    }
}

/// Future events, the earliest first; equal moments in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub struct EventHeap {
    events: Vec<(f64, u64)>,
}

impl EventHeap {
    pub fn peek(&self) -> Option<(f64, u64)> {
        self.events.first().copied()
    }

    pub fn push(&mut self, at: f64, event: u64) {
        self.events.push((at, event));
        let mut child = self.events.len() - 1;
        while child > 0 {
            let parent = (child - 1) / 2;
            if !less(self.events[child], self.events[parent]) {
                break;
            }
            self.events.swap(child, parent);
            child = parent;
        }
    }

    pub fn pop(&mut self) -> Option<(f64, u64)> {
        let last = self.events.pop()?;
        let Some(first) = self.events.first().copied() else { return Some(last) };
        let mut hole = 0;
        let len = self.events.len();
        loop {
            let mut child = 2 * hole + 1;
            if child >= len {
                break;
            }
            if child + 1 < len && less(self.events[child + 1], self.events[child]) {
                child += 1;
            }
            if !less(self.events[child], last) {
                break;
            }
            self.events[hole] = self.events[child];
            hole = child;
        }
        self.events[hole] = last;
        Some(first)
    }
}

#[inline]
fn less(a: (f64, u64), b: (f64, u64)) -> bool {
    a.0 < b.0 || (a.0 == b.0 && a.1 < b.1)
}
