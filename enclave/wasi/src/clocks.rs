//! `wasi:clocks@0.2` over the enclave's bounded clock. The time zone is UTC.

use std::time::Duration;

use enclave_platform::clock::Monotonic;
use enclave_worker::Handle;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

use crate::WasiCtx;
use crate::bindings::wasi::clocks::{monotonic_clock, timezone, wall_clock};

/// The host's clock is read in nanoseconds; how often it really ticks is the host's business.
const RESOLUTION_NS: u32 = 1_000;

/// Ready once the monotonic clock has passed a moment.
struct Alarm {
    host: Handle,
    at: Monotonic,
}

#[async_trait]
impl Pollable for Alarm {
    async fn ready(&mut self) {
        if self.host.monotonic() < self.at {
            self.host.deadline(self.at).await;
        }
    }
}

impl WasiCtx {
    fn alarm(&mut self, at: Monotonic) -> Result<Resource<DynPollable>> {
        let alarm = Alarm { host: self.host.clone(), at };
        let alarm = self.table.push(alarm)?;
        subscribe(&mut self.table, alarm)
    }
}

impl monotonic_clock::Host for WasiCtx {
    fn now(&mut self) -> Result<u64> {
        Ok(self.host.monotonic().as_nanos())
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(u64::from(RESOLUTION_NS))
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        self.alarm(Monotonic::from_nanos(when))
    }

    fn subscribe_duration(&mut self, when: u64) -> Result<Resource<DynPollable>> {
        let at = self.host.monotonic().after(Duration::from_nanos(when));
        self.alarm(at)
    }
}

impl wall_clock::Host for WasiCtx {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        let now = self.host.clock().unix();
        Ok(wall_clock::Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() })
    }

    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: RESOLUTION_NS })
    }
}

impl timezone::Host for WasiCtx {
    fn display(&mut self, _: wall_clock::Datetime) -> Result<timezone::TimezoneDisplay> {
        Ok(timezone::TimezoneDisplay {
            utc_offset: 0,
            name: "UTC".to_owned(),
            in_daylight_saving_time: false,
        })
    }

    fn utc_offset(&mut self, _: wall_clock::Datetime) -> Result<i32> {
        Ok(0)
    }
}
