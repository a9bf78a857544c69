#include "actors/event_log.hpp"

#include "actors/event_log_data.hpp"
#include "actors/lifecycle_event.hpp"
#include "actors/names.hpp"
#include "actors/records.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

using log_ptr = std::shared_ptr<event_log_data>;

constexpr size_t readers_max = 10'000;
constexpr size_t durables_max = 1'000;
constexpr size_t rows_bytes_max = 64 << 20; // of all readers together that have not taken their rows yet

// ---- opening

struct beginning {
  uint64_t next = 1;
  bool lost = false; // the cursor is of another log
};

outcome<beginning> begin_behind(const event_log_data& log, const event_cursor& from) {
  if (from.epoch != log.origin.epoch || from.member != log.origin.member)
    return beginning{log.with.db.first_seq(), true};
  if (from.seq > log.with.db.last_seq())
    return fail(fault::invalid, "The cursor " + to_string(from) + " is ahead of the event log");
  return beginning{from.seq + 1};
}

outcome<beginning> beginning_of(const event_log_data& log, const open_subscription& request) {
  if (request.start == start_at::beginning) return beginning{log.with.db.first_seq()};
  if (request.start == start_at::cursor) return begin_behind(log, request.from);
  return beginning{log.with.db.last_seq() + 1};
}

client make_client(const open_subscription& request, event_matcher wanted, beginning where) {
  return {event_reader{std::move(wanted), request.deliver, where.next, where.lost}, request.ended, request.durable};
}

subscription_ptr admit(const log_ptr& log, client one) {
  auto id = ++log->last_id;
  log->rows_bytes += one.rows_bytes = one.reader.rows_bytes();
  log->clients.emplace(id, std::move(one));
  start_ticking(*log);
  return std::make_shared<subscription>(log->self->address(), id);
}

using rows_result = outcome<std::shared_ptr<snapshot_rows>>;

void open_with_rows(const log_ptr& log, const open_subscription& request, const event_matcher& wanted,
                    sure_promise promise) {
  auto done = [log, request, wanted, promise](rows_result rows) mutable {
    if (rows && log->rows_bytes + (*rows)->bytes > rows_bytes_max)
      rows = fail(fault::busy, "Too many snapshots are being read; try again later");
    if (!rows) return promise.deliver(to_caf(rows.error()));
    auto one = make_client(request, wanted, {});
    one.reader.begin_with(std::move(**rows));
    promise.deliver(admit(log, std::move(one)));
  };
  on_blocking_thread(
      log->self, log->with,
      [&with = log->with, wanted]() -> rows_result {
        return reading([&]() -> rows_result {
          auto rows = read_rows(with.db.read(), wanted, rows_bytes_max);
          if (!rows) return tl::unexpected{rows.error()};
          return std::make_shared<snapshot_rows>(std::move(*rows));
        });
      },
      std::move(done));
}

// The newest reader of a durable subscription takes over: its older connection may be dead without knowing it.
subscription_ptr take_over(const log_ptr& log, const open_subscription& request, event_matcher wanted,
                           beginning where) {
  end_reader_of(*log, request.durable, {fault::cancelled, "Another reader took the subscription over"});
  return admit(log, make_client(request, std::move(wanted), where));
}

void reopen_durable(const log_ptr& log, const open_subscription& request, const durable_facts& known,
                    sure_promise promise) {
  if (request.filter != event_filter{} && request.filter != known.filter)
    return promise.deliver(to_caf({fault::already_exists, "The subscription \"" + known.name +
                                                              "\" has another filter; leave it out, or delete it"}));
  auto wanted = event_matcher::parse(known.filter);
  auto where = begin_behind(*log, known.acknowledged);
  if (!wanted || !where) return promise.deliver(to_caf(wanted ? where.error() : wanted.error()));
  promise.deliver(take_over(log, request, std::move(*wanted), *where));
}

void create_durable(const log_ptr& log, const open_subscription& request, const event_matcher& wanted, beginning where,
                    sure_promise promise) {
  if (auto good = check_plain_name("Subscription", request.durable); !good)
    return promise.deliver(to_caf(good.error()));
  if (log->durables.size() >= durables_max)
    return promise.deliver(to_caf({fault::too_large, "There are too many durable subscriptions"}));
  durable_facts made{request.durable, request.filter, {log->origin.epoch, log->origin.member, where.next - 1}};
  if (where.lost) made.acknowledged = request.from; // so that the gap is told again until it is acknowledged
  made.created_at = now_ns();
  made.owner = request.head->who.username;
  batch change;
  change.conditions.push_back(absent(table::subscriptions, request.durable));
  change.writes.push_back(log->durables.add(std::move(made)));
  commit(log->self, log->with, std::move(change), [log, request, wanted, where, promise](const outcome<void>& kept) {
    if (kept) return promise.deliver(take_over(log, request, wanted, where));
    static_cast<void>(log->durables.erase(request.durable));
    end_reader_of(*log, request.durable, kept.error());
    promise.deliver(to_caf(kept.error()));
  });
}

caf::response_promise open(const log_ptr& log, const open_subscription& request) {
  auto promise = promise_of(log->self);
  auto refuse = [&](const error& why) {
    promise.deliver(to_caf(why));
    return promise;
  };
  auto wanted = event_matcher::parse(request.filter);
  if (!wanted) return refuse(wanted.error());
  if (log->clients.size() >= readers_max) return refuse({fault::busy, "There are too many subscribers"});
  if (request.snapshot && (request.start != start_at::now || !request.durable.empty()))
    return refuse({fault::invalid, "A subscription that begins with a snapshot has neither a cursor nor a name"});
  if (request.snapshot) {
    open_with_rows(log, request, *wanted, promise);
    return promise;
  }
  if (auto* known = request.durable.empty() ? nullptr : log->durables.find(request.durable)) {
    reopen_durable(log, request, *known, promise);
    return promise;
  }
  auto where = beginning_of(*log, request);
  if (!where) return refuse(where.error());
  if (!request.durable.empty())
    create_durable(log, request, *wanted, *where, promise);
  else
    promise.deliver(admit(log, make_client(request, std::move(*wanted), *where)));
  return promise;
}

// ---- durable subscriptions

durable_facts with_lag(const event_log_data& log, durable_facts facts) {
  facts.connected = std::any_of(log.clients.begin(), log.clients.end(),
                                [&](auto& entry) { return entry.second.durable == facts.name; });
  auto last = log.with.db.last_seq();
  bool ours = facts.acknowledged.epoch == log.origin.epoch && facts.acknowledged.member == log.origin.member;
  facts.lag = !ours ? last : last - std::min(last, facts.acknowledged.seq);
  return facts;
}

void acknowledge(const log_ptr& log, const acknowledge_events& what) {
  auto at = log->clients.find(what.id);
  if (at == log->clients.end()) return;
  auto& one = at->second;
  if (one.durable.empty())
    return end(*log, what.id, {fault::invalid, "Only a durable subscription can be acknowledged"});
  if (what.seq > one.reader.told())
    return end(*log, what.id, {fault::invalid, "An event was acknowledged that was not delivered"});
  log->durables.acknowledge(one.durable, {log->origin.epoch, log->origin.member, what.seq}, now_ns());
  save_soon(*log);
}

caf::response_promise remove_durable(const log_ptr& log, const std::string& name) {
  auto promise = promise_of(log->self);
  if (!log->durables.find(name)) {
    promise.deliver(to_caf({fault::not_found, "Subscription not found"}));
    return promise;
  }
  end_reader_of(*log, name, {fault::cancelled, "The subscription was deleted"});
  batch change;
  change.writes.push_back(log->durables.erase(name));
  commit(log->self, log->with, std::move(change), [promise](const outcome<void>& done) { answer(promise, done); });
  return promise;
}

} // namespace

caf::behavior event_log(caf::event_based_actor* self, services& with) {
  auto log = std::make_shared<event_log_data>(self, with);
  self->attach_functor([log] { // who still listens has to come back
    for (auto& [id, one] : std::exchange(log->clients, {}))
      if (one.ended) one.ended({fault::busy, "The event log is being restarted; subscribe again"});
  });
  return {
      [log](const committed_ptr& done) {
        for (auto& event : done->events) log->ring.append(event);
        schedule_fan_out(*log);
      },
      [log](fan_out) {
        log->fanning_out = false;
        bring_all_on(*log);
      },
      [log](grant_credits more) {
        auto at = log->clients.find(more.id);
        if (at == log->clients.end()) return;
        at->second.reader.grant(more.credits);
        bring_on(*log, more.id);
      },
      [log](acknowledge_events what) { acknowledge(log, what); },
      [log](close_subscription which) { forget(*log, which.id); },
      [log](const log_line& line) { tell_line(*log, line); },
      [log](const open_subscription& request) { return open(log, request); },
      [log](list_durables) {
        auto all = log->durables.list();
        for (auto& one : all) one = with_lag(*log, std::move(one));
        return all;
      },
      [log](const find_durable& request) -> caf::result<durable_facts> {
        if (auto* known = log->durables.find(request.name)) return with_lag(*log, *known);
        return to_caf({fault::not_found, "Subscription not found"});
      },
      [log](const delete_durable& request) { return remove_durable(log, request.name); },
      [log](event_tick) { tick(*log); },
      [log](save_acknowledged) { save_now(*log); },
      [](resume& back) { back.run(); },
  };
}

} // namespace troupe
