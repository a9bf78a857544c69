#pragma once

#include "actors/durable_subscriptions.hpp"
#include "actors/event_log.hpp"
#include "actors/event_reader.hpp"

#include <deque>
#include <map>
#include <stdexcept>

namespace troupe {

// What the events actor holds, and how its readers are brought on.

struct fan_out {};           // INTERNAL: behind the commits that are in the mailbox already
struct event_tick {};        // INTERNAL: while there are readers
struct save_acknowledged {}; // INTERNAL

struct client {
  event_reader reader;
  std::function<void(const error&)> ended;
  std::string durable;
  bool on_disk = false; // a portion is asked for
  int rows_ticks = 0;   // since it last took rows
  size_t rows_bytes = 0;
};

struct event_log_data : std::enable_shared_from_this<event_log_data> {
  caf::event_based_actor* self;
  services& with;
  event_reader::origin origin;
  event_ring ring;
  durable_subscriptions durables;
  std::map<uint64_t, client> clients;
  uint64_t last_id = 0;
  std::deque<uint64_t> wants_disk;
  size_t disk_jobs = 0;
  size_t rows_bytes = 0;
  uint64_t suspect = 0; // a number that was committed; by the next tick its event must have come
  bool fanning_out = false, ticking = false, saving = false;

  event_log_data(caf::event_based_actor* me, services& all)
      : self{me}, with{all}, origin{all.db.epoch(), all.server_name}, ring{all.db.last_seq()}, durables{all.db.read()} {
  }
};

void schedule_fan_out(event_log_data& log);
void bring_on(event_log_data& log, uint64_t id);
void bring_all_on(event_log_data& log);
void tell_line(event_log_data& log, const log_line& line);

/// Without telling it; `end` tells.
void forget(event_log_data& log, uint64_t id);
void end(event_log_data& log, uint64_t id, const error& why);
void end_reader_of(event_log_data& log, const std::string& durable, const error& why);

void start_ticking(event_log_data& log);
void tick(event_log_data& log);
void save_soon(event_log_data& log);
void save_now(event_log_data& log);

/// A snapshot that cannot be read throws; here it is an error.
template <class Work>
std::invoke_result_t<Work> reading(Work&& work) {
  try {
    return work();
  } catch (const std::exception& e) {
    return fail(fault::backend_failed, std::string{"The event log cannot be read: "} + e.what());
  }
}

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::fan_out)
TROUPE_LOCAL_MESSAGE(troupe::event_tick)
TROUPE_LOCAL_MESSAGE(troupe::save_acknowledged)
