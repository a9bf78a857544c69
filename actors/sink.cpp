#include "actors/sink.hpp"

#include "actors/records.hpp"
#include "actors/sinks.hpp"
#include "actors/store_actor.hpp"
#include "backends/sink/sink_config.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>
#include <deque>

namespace troupe {

// INTERNAL messages of a sink to itself.
struct sink_delivery { // from the events actor, through the subscription's function
  uint64_t reader = 0;
  delivery what;
};
struct sink_reader_ended {
  uint64_t reader = 0;
  error why;
};
struct sink_retry {};
struct sink_subscribe {};
struct sink_saved_a_while_ago {};

} // namespace troupe

TROUPE_LOCAL_MESSAGE(troupe::sink_delivery)
TROUPE_LOCAL_MESSAGE(troupe::sink_reader_ended)
TROUPE_LOCAL_MESSAGE(troupe::sink_retry)
TROUPE_LOCAL_MESSAGE(troupe::sink_subscribe)
TROUPE_LOCAL_MESSAGE(troupe::sink_saved_a_while_ago)

namespace troupe {
namespace {

constexpr uint32_t deliveries_max = 256; // in the mailbox and waiting: what the subscription may have open
constexpr size_t batch_max = 100;
constexpr unsigned refusals_max = 5; // then the event is a dead letter
constexpr size_t dead_letters_max = 1000;
constexpr std::chrono::milliseconds first_delay{200}, longest_delay{30'000};
constexpr std::chrono::seconds save_period{1};

using status_record = message<schema::SinkStatus>;

struct sink_data {
  services& with;
  caf::event_based_actor* self;
  blocking_pool& threads;
  const std::string name;
  std::shared_ptr<sink_writer> writer;
  event_filter filter;
  status_record status;

  uint64_t reader = 0; // which subscription is listened to
  subscription_ptr subscription;
  event_cursor read, done; // received, and finished with
  std::deque<delivery> waiting;

  bool writing = false, resting = false; // resting: until the next attempt
  unsigned failures = 0;                 // one after the other
  unsigned refusals = 0;                 // of the first that waits
  bool saving = false, unsaved = false;
  std::vector<sure_promise> stopping;
};
using data_ptr = std::shared_ptr<sink_data>;

void write_next(const data_ptr& me);

std::chrono::milliseconds delay_after(unsigned failures) {
  return std::min(longest_delay, first_delay * (1 << std::min(failures, 10u)));
}

// ---- what is kept

template <class Change>
void note(const data_ptr& me, Change&& change) {
  me->status = changed(me->status, [&](schema::SinkStatus::Builder status) {
    status.setEpoch(me->done.epoch);
    status.setMember(me->done.member);
    status.setSeq(me->done.seq);
    change(status);
  });
}

void commit(const data_ptr& me, batch change, std::function<void(outcome<void>)> then) {
  change.writes.push_back(put(table::sink_statuses, me->name, me->status));
  commit(me->self, me->with, std::move(change), std::move(then));
}

// At once if the last time is a while ago, else when it is.
void save_soon(const data_ptr& me) {
  if (std::exchange(me->saving, true)) {
    me->unsaved = true;
    return;
  }
  me->unsaved = false;
  commit(me, {}, [me](const outcome<void>& saved) {
    if (!saved) log().warn("The state of sink {} could not be kept: {}", me->name, saved.error().message);
    me->self->delayed_send(me->self, save_period, sink_saved_a_while_ago{});
  });
}

void end(const data_ptr& me) {
  commit(me, {}, [me](const outcome<void>&) { // not kept: some events are sent once more
    for (auto& promise : me->stopping) promise.deliver(caf::unit);
    me->self->quit();
  });
}

// ---- the way in

void move_on(const data_ptr& me, const event_cursor& at, size_t finished) {
  me->done = at;
  me->waiting.erase(me->waiting.begin(), me->waiting.begin() + static_cast<long>(finished));
  if (me->waiting.empty()) me->done = me->read; // bookmarks came behind
  me->refusals = 0;
  if (me->subscription) me->subscription->grant(static_cast<uint32_t>(finished));
}

void receive(const data_ptr& me, const sink_delivery& one) {
  if (one.reader != me->reader) return;
  me->read = one.what.at;
  bool wanted = one.what.what == delivery::kind::event || one.what.what == delivery::kind::gap;
  if (wanted) {
    me->waiting.push_back(one.what);
    return write_next(me);
  }
  me->subscription->grant(1);
  if (!me->waiting.empty()) return;
  me->done = me->read;
  note(me, [](auto) {});
  save_soon(me);
}

void rest(const data_ptr& me, const error& why) {
  auto attempt = me->failures++;
  if (attempt == 0) log().warn("Sink {} waits for its receiver: {}", me->name, why.message);
  note(me, [&](schema::SinkStatus::Builder status) {
    status.setFailed(status.getFailed() + 1);
    status.setFailing(true);
    status.setLastError(why.message);
    status.setLastErrorAt(now_ns());
  });
  save_soon(me);
  me->resting = true;
  me->self->delayed_send(me->self, delay_after(attempt), sink_retry{});
}

void subscribe(const data_ptr& me) {
  auto reader = ++me->reader;
  open_subscription wanted;
  wanted.filter = me->filter;
  wanted.start = start_at::cursor;
  wanted.from = me->read;
  auto to = me->self->address(); // not a handle: a subscription keeps no sink alive
  wanted.deliver = [to, reader](const delivery& what) {
    if (auto sink = caf::actor_cast<caf::actor>(to)) caf::anon_send(sink, sink_delivery{reader, what});
  };
  wanted.ended = [to, reader](const error& why) {
    if (auto sink = caf::actor_cast<caf::actor>(to)) caf::anon_send(sink, sink_reader_ended{reader, why});
  };
  auto again = [me](const error& why) {
    log().warn("Sink {} cannot read the event log: {}", me->name, why.message);
    me->self->delayed_send(me->self, delay_after(me->failures), sink_subscribe{});
  };
  auto events = me->with.find(role::events);
  if (!events) return again({fault::busy, "It is being restarted"});
  ask<subscription_ptr>(me->self, events, std::move(wanted), [me, again](const outcome<subscription_ptr>& made) {
    if (!made) return again(made.error());
    me->subscription = *made;
    me->subscription->grant(deliveries_max - static_cast<uint32_t>(me->waiting.size()));
  });
}

// ---- the way out

void bury_first(const data_ptr& me, const error& why) {
  auto records = me->with.db.read();
  size_t buried = 0;
  records.scan(table::dead_letters, dead_letters_of(me->name), [&](auto, auto) { return ++buried < dead_letters_max; });
  if (buried == dead_letters_max)
    return rest(me, {why.code, why.message + " (there are " + std::to_string(buried) + " dead letters already)"});
  auto letter = to_record(me->waiting.front());
  auto at = me->waiting.front().at;
  log().warn("Sink {} gives the event {} up: {}", me->name, letter.id, why.message);
  char key[32];
  std::snprintf(key, sizeof key, "%010u/%020llu", at.epoch, static_cast<unsigned long long>(at.seq));
  batch change;
  change.writes.push_back(put(table::dead_letters, dead_letters_of(me->name) + key,
                              message<schema::DeadLetter>::make([&](schema::DeadLetter::Builder made) {
                                made.setCursor(letter.id);
                                made.setSubject(letter.subject);
                                made.setError(why.message);
                                made.setAttempts(me->refusals);
                                made.setTime(now_ns());
                                made.setEvent(letter.data);
                              })));
  // In one commit: an event that is neither delivered nor a dead letter is never behind the cursor.
  auto before = me->done;
  me->done = at;
  note(me, [&](schema::SinkStatus::Builder status) {
    status.setFailed(status.getFailed() + 1);
    status.setFailing(false);
    status.setLastError(why.message);
    status.setLastErrorAt(now_ns());
  });
  me->writing = true;
  commit(me, std::move(change), [me, at, before](const outcome<void>& kept) {
    me->writing = false;
    if (!kept) {
      me->done = before;
      return rest(me, kept.error());
    }
    me->failures = 0;
    move_on(me, at, 1);
    me->stopping.empty() ? write_next(me) : end(me);
  });
}

void note_accepted(const data_ptr& me, size_t count) {
  if (me->failures > 0 && count > 0) log().info("Sink {} delivers again", me->name);
  auto gaps = static_cast<uint64_t>(std::count_if(me->waiting.begin(), me->waiting.begin() + static_cast<long>(count),
                                                  [](auto& one) { return one.what == delivery::kind::gap; }));
  auto at = me->waiting[count - 1].at;
  move_on(me, at, count);
  me->failures = 0;
  note(me, [&](schema::SinkStatus::Builder status) {
    status.setDelivered(status.getDelivered() + count);
    status.setGaps(status.getGaps() + gaps);
    status.setFailing(false);
    status.setLastDeliveredAt(now_ns());
  });
  save_soon(me);
}

void after_write(const data_ptr& me, const sink_progress& how) {
  me->writing = false;
  if (how.accepted > 0) note_accepted(me, how.accepted);
  if (!me->stopping.empty()) return end(me);
  if (!how.failure) return write_next(me);
  if (how.refused && ++me->refusals >= refusals_max) return bury_first(me, *how.failure);
  rest(me, *how.failure);
}

sink_progress write_all(sink_writer& writer, const std::vector<delivery>& batch) {
  try {
    std::vector<sink_record> records;
    records.reserve(batch.size());
    for (auto& one : batch) records.push_back(to_record(one));
    return writer.write(records);
  } catch (const std::exception& e) {
    return {0, error{fault::internal, std::string{"Events could not be written: "} + e.what()}};
  }
}

void write_next(const data_ptr& me) {
  if (me->writing || me->resting || me->waiting.empty() || !me->stopping.empty()) return;
  // What was refused goes alone, so that a batch in front of it is not sent five times.
  auto count = me->refusals > 0 ? 1 : std::min(batch_max, me->waiting.size());
  std::vector<delivery> batch{me->waiting.begin(), me->waiting.begin() + static_cast<long>(count)};
  me->writing = true;
  auto back = caf::actor_cast<caf::actor>(me->self);
  bool taken = me->threads.submit([me, back, writer = me->writer, batch = std::move(batch)] {
    auto how = write_all(*writer, batch);
    caf::anon_send(back, resume{[me, how] { after_write(me, how); }});
  });
  if (!taken) after_write(me, {0, error{fault::busy, "The server has too much to do right now"}});
}

caf::result<caf::unit_t> stop(const data_ptr& me) {
  auto promise = promise_of(me->self);
  me->stopping.push_back(promise);
  if (me->stopping.size() > 1) return promise;
  ++me->reader; // hears nothing more
  me->subscription = nullptr;
  me->writer->stop();
  if (!me->writing) end(me);
  return promise;
}

void restore(const data_ptr& me) {
  auto records = me->with.db.read();
  if (auto status = load<schema::SinkStatus>(records, table::sink_statuses, me->name)) me->status = *status;
  me->done = me->status.read([](schema::SinkStatus::Reader status) {
    return event_cursor{status.getEpoch(), text(status.getMember()), status.getSeq()};
  });
  me->read = me->done;
  auto spec = load<schema::SinkSpec>(records, table::sinks, me->name).value_or(message<schema::SinkSpec>{});
  spec.read([&](schema::SinkSpec::Reader s) {
    me->filter.subjects = to_vector(s.getFilter());
    me->filter.types = to_vector(s.getTypes());
    if (me->filter.types.empty()) me->filter.types = {"lifecycle", "operation"};
  });
}

std::shared_ptr<sink_writer> recorded_writer(const services& with, const std::string& name) {
  auto spec = load<schema::SinkSpec>(with.db.read(), table::sinks, name).value_or(message<schema::SinkSpec>{});
  return spec.read([&](schema::SinkSpec::Reader s) -> std::shared_ptr<sink_writer> {
    auto config = to_map(s.getConfig());
    config.merge(to_map(s.getSecrets()));
    return make_sink_writer(view(s.getType()), name, with.dir.sinks, config);
  });
}

} // namespace

caf::behavior sink(caf::event_based_actor* self, services& with, blocking_pool& threads, const std::string& name,
                   std::shared_ptr<sink_writer> writer) {
  auto me = std::make_shared<sink_data>(sink_data{with, self, threads, name, std::move(writer)});
  restore(me);
  subscribe(me);
  self->attach_functor([writer = me->writer] { writer->stop(); });
  return {
      [me](const sink_delivery& one) { receive(me, one); },
      [me](const sink_reader_ended& which) {
        if (which.reader == me->reader && me->stopping.empty()) subscribe(me);
      },
      [me](sink_subscribe) {
        if (me->stopping.empty()) subscribe(me);
      },
      [me](sink_retry) {
        me->resting = false;
        write_next(me);
      },
      [me](sink_saved_a_while_ago) {
        me->saving = false;
        if (me->unsaved && me->stopping.empty()) save_soon(me);
      },
      [me](stop_sink) { return stop(me); },
      [](resume& back) { back.run(); },
  };
}

caf::behavior sink(caf::event_based_actor* self, services& with, blocking_pool& threads, const std::string& name) {
  return sink(self, with, threads, name, recorded_writer(with, name));
}

} // namespace troupe
