#include "actors/lifecycle_event.hpp"
#include "actors/operation_view.hpp"
#include "actors/records.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/live_streams.hpp"
#include "gateway/rest/routes.hpp"
#include "gateway/visible_operation.hpp"

#include <algorithm>
#include <cctype>
#include <map>

namespace troupe {
namespace {

constexpr size_t list_max = 100'000;        // operations in one answer
constexpr int64_t shown_ns = 5'000'000'000; // how long a list still shows what has ended, as LXD's does

std::string lower(std::string_view word) {
  std::string out{word};
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// The operations that were asked for, by status word: LXD's form of the list.
class operation_list {
public:
  operation_list(const rest_request& from, const snapshot& records)
      : from_{from}, records_{records}, all_{is_true(from.http->parameter("all-projects"))} {}

  void add(std::string_view bytes) {
    auto record = operation_record::from_bytes(bytes);
    record.read([&](schema::Operation::Reader op) {
      bool of_server = op.getProject().size() == 0 && from_.head->who.level == trust::full;
      if (!all_ && view(op.getProject()) != from_.head->project && !of_server) return;
      if (!may_view(from_.head->who, op)) return;
      auto& list = by_status_[lower(status_of(op.getState()).word)];
      if (from_.recursion() == 2)
        list.next() += detailed_operation_json(record, records_);
      else if (from_.recursion() == 1)
        list.next() += operation_json(record);
      else
        list.url("/1.0/operations/", view(op.getId()));
      ++count_;
    });
  }
  size_t count() const { return count_; }
  std::string take() {
    std::string out = "{";
    for (auto& [status, list] : by_status_) {
      write_json_name(out, status);
      out += std::move(list).take();
    }
    return out + "}";
  }

private:
  const rest_request& from_;
  const snapshot& records_;
  const bool all_; // of all projects
  std::map<std::string, json_list> by_status_;
  size_t count_ = 0;
};

bool ended_long_ago(std::string_view bytes, int64_t now) {
  auto ended = operation_record::from_bytes(bytes).read([](auto op) { return op.getUpdatedAt(); });
  return now - ended >= shown_ns;
}

// Keys are UUIDv7, so the newest come last; only what runs or has just ended is looked at.
void list_present(operation_list& list, const snapshot& records) {
  auto now = now_ns();
  std::map<std::string, bool, std::less<>> running;
  records.scan(table::journal, "", [&](std::string_view id, std::string_view) {
    running.emplace(id, true);
    if (auto bytes = records.get(table::operations, id)) list.add(*bytes);
    return true;
  });
  records.scan_from(table::operations, first_id_of(now - 3'600'000'000'000),
                    [&](std::string_view id, std::string_view bytes) {
                      if (!running.contains(id) && !ended_long_ago(bytes, now)) list.add(bytes);
                      return true;
                    });
}

// An entity's operations are found by their index, however many others there are.
void list_of_entity(operation_list& list, const snapshot& records, std::string_view entity, bool all) {
  auto now = now_ns();
  for (auto& id : operations_of(records, entity)) {
    auto bytes = records.get(table::operations, id);
    if (bytes && (all || records.get(table::journal, id) || !ended_long_ago(*bytes, now))) list.add(*bytes);
  }
}

outcome<size_t> limit_of(const rest_request& from) {
  auto given = std::string{from.http->parameter("limit")};
  if (given.empty()) return list_max;
  char* end = nullptr;
  auto limit = std::strtoull(given.c_str(), &end, 10);
  if (*end || limit == 0 || limit > list_max)
    return fail(fault::invalid, "\"limit\" must be a whole number from 1 to " + std::to_string(list_max));
  return limit;
}

outcome<std::string> list_operations(const rest_request& from) {
  auto limit = limit_of(from);
  if (!limit) return tl::unexpected{limit.error()};
  auto records = from.with().db.read();
  operation_list list{from, records};
  bool all = is_true(from.http->parameter("all"));
  if (auto entity = from.http->parameter("entity"); !entity.empty())
    list_of_entity(list, records, entity, all);
  else if (all)
    records.scan_from(table::operations, from.http->parameter("after"),
                      [&](std::string_view id, std::string_view bytes) {
                        if (id != from.http->parameter("after")) list.add(bytes);
                        return list.count() < *limit;
                      });
  else
    list_present(list, records);
  return list.take();
}

std::string shown(const rest_request& from, const operation_record& record) {
  return from.recursion() > 0 ? detailed_operation_json(record, from.with().db.read()) : operation_json(record);
}

// Whoever may see everything need not be asked about. For the others, what they may not see is not there.
void if_visible(const rest_request& from, std::function<void()> then, bool to_cancel = false) {
  if (from.head->who.level == trust::full) return then();
  ask<operation_record>(
      from, role::operations,
      [from, then = std::move(then), to_cancel](const outcome<operation_record>& record) {
        bool visible =
            record && record->read([&](schema::Operation::Reader op) { return may_view(from.head->who, op); });
        if (!visible) return reply_error(from, {fault::not_found, "Operation not found"});
        bool may = !to_cancel || record->read([&](auto op) { return may_cancel(from.head->who, op); });
        if (!may) return reply_error(from, {fault::forbidden, "not authorized"});
        then();
      },
      find_operation{from.parameter(0)});
}

void show_operation(const rest_request& from);
void cancel_operation_(const rest_request& from);
void await_end(const rest_request& from);

} // namespace

void get_operations(const rest_request& from) {
  reply_from_blocking_thread(from, [from] { return list_operations(from); });
}

void get_operation(const rest_request& from) {
  if_visible(from, [from] { show_operation(from); });
}
void delete_operation(const rest_request& from) {
  if_visible(
      from, [from] { cancel_operation_(from); }, true);
}
void wait_operation(const rest_request& from) {
  if_visible(from, [from] { await_end(from); });
}

namespace {

// What runs is asked of its actor, which knows more than the store.
void show_operation(const rest_request& from) {
  auto record = load<schema::Operation>(from.with().db.read(), table::operations, from.parameter(0));
  if (record && is_over(state_of(*record))) return reply_sync(from, shown(from, *record));
  ask<operation_record>(
      from, role::operations,
      [from](const outcome<operation_record>& live) {
        if (live)
          reply_sync(from, shown(from, *live));
        else
          reply_error(from, live.error());
      },
      find_operation{from.parameter(0)});
}

void cancel_operation_(const rest_request& from) {
  ask<void>(
      from, role::operations,
      [from](const outcome<void>& done) {
        if (done)
          reply_sync(from, "{}");
        else
          reply_error(from, done.error());
      },
      cancel_operation{from.parameter(0), from.head});
}

// The door's actor may fail while it waits; the timer alone would then answer, at the end of its time.
struct asked {
  rest_request from;
  bool answered = false;
  asked(const rest_request& one) : from{one} {}
  asked(const asked&) = delete;
  ~asked() {
    if (!answered) reply_error(from, {fault::busy, "This part of the server is being restarted; try again"});
  }
};

void await_end(const rest_request& from) {
  // Most changes are over before anybody waits for them; then no actor has to be asked.
  auto stored = load<schema::Operation>(from.with().db.read(), table::operations, from.parameter(0));
  if (stored && is_over(state_of(*stored)) && state_of(*stored) != schema::Operation::State::UNKNOWN)
    return reply_sync(from, shown(from, *stored));
  auto& streams = from.context.streams;
  auto seconds = std::strtoll(std::string{from.http->parameter("timeout")}.c_str(), nullptr, 10);
  bool bounded = !from.http->parameter("timeout").empty() && seconds >= 0;
  uint64_t timer = 0;
  if (bounded)
    timer =
        streams.after(std::chrono::seconds{std::min<long long>(seconds, 7 * 86400)}, [from] { show_operation(from); });
  ask<operation_record>(
      from, role::operations,
      [from, timer, &streams, asked = std::make_shared<asked>(from)](const outcome<operation_record>& record) {
        asked->answered = true;
        if (timer) streams.cancel(timer);
        if (record)
          reply_sync(from, shown(from, *record));
        else
          reply_error(from, record.error());
      },
      await_operation{from.parameter(0)});
}

} // namespace

void operation_websocket(const rest_request& from) {
  from.context.streams.connect(from, from.parameter(0), std::string{from.http->parameter("secret")});
}

} // namespace troupe
