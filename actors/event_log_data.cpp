#include "actors/event_log_data.hpp"

#include "actors/records.hpp"
#include "messages/json.hpp"

#include <algorithm>
#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

constexpr size_t disk_jobs_max = 4;  // of the blocking pool, which others need too
constexpr size_t portion_max = 2048; // deliveries of one disk job
constexpr int rows_ticks_max = 6;    // without taking rows: the reader is given up
constexpr std::chrono::seconds tick_period{10};
constexpr std::chrono::milliseconds save_period{250};

using portion_result = outcome<std::shared_ptr<replay_portion>>;

void serve_disk(event_log_data& log);

void take_portion(event_log_data& log, uint64_t id, portion_result got) {
  --log.disk_jobs;
  auto at = log.clients.find(id);
  if (at != log.clients.end()) {
    at->second.on_disk = false;
    if (got) at->second.reader.take(std::move(**got), log.origin);
    if (got) bring_on(log, id);
  }
  if (!got) troupe::log().warn("{}", got.error().message); // the next tick tries again
  if (got) serve_disk(log);
}

void serve_disk(event_log_data& log) {
  while (log.disk_jobs < disk_jobs_max && !log.wants_disk.empty()) {
    auto id = log.wants_disk.front();
    log.wants_disk.pop_front();
    auto at = log.clients.find(id);
    if (at == log.clients.end()) continue;
    auto& reader = at->second.reader;
    ++log.disk_jobs;
    on_blocking_thread(
        log.self, log.with,
        [&with = log.with, wanted = reader.wanted(), next = reader.next(),
         count = std::min<size_t>(reader.credits(), portion_max)]() -> portion_result {
          return reading([&]() -> portion_result {
            return std::make_shared<replay_portion>(replay(with.db.read(), next, *wanted, count));
          });
        },
        [all = log.shared_from_this(), id](portion_result got) { take_portion(*all, id, std::move(got)); });
  }
}

schema::Event::Level level_of(int spdlog_level) {
  using level = schema::Event::Level;
  constexpr level levels[] = {level::DEBUG, level::DEBUG, level::INFO, level::WARNING};
  return static_cast<size_t>(spdlog_level) < std::size(levels) ? levels[spdlog_level] : level::ERROR;
}
constexpr std::string_view level_words[] = {"debug", "info", "warning", "error"};

message<schema::Event> event_of(const log_line& line, const std::string& member) {
  auto level = level_of(line.level);
  std::string json = "{";
  write_json_name(json, "message");
  write_json_string(json, line.text);
  write_json_name(json, "level");
  write_json_string(json, level_words[static_cast<size_t>(level)]);
  json += ",\"context\":{}}";
  return message<schema::Event>::make([&](schema::Event::Builder event) {
    event.setType(schema::Event::Type::LOGGING);
    event.setLevel(level);
    event.setTime(now_ns());
    event.setMember(member);
    event.setMetadata(json);
  });
}

void account_rows(event_log_data& log, client& one) {
  auto left = one.reader.rows_bytes();
  if (left == one.rows_bytes) return;
  log.rows_bytes -= one.rows_bytes - left;
  one.rows_bytes = left;
  one.rows_ticks = 0;
}

} // namespace

void schedule_fan_out(event_log_data& log) {
  if (!std::exchange(log.fanning_out, true)) log.self->send(log.self, fan_out{});
}

void bring_on(event_log_data& log, uint64_t id) {
  auto at = log.clients.find(id);
  if (at == log.clients.end() || at->second.on_disk) return;
  auto& one = at->second;
  auto wants = one.reader.advance(log.ring, log.origin);
  account_rows(log, one);
  if (wants == event_reader::need::turn) schedule_fan_out(log);
  if (wants != event_reader::need::disk) return;
  one.on_disk = true;
  log.wants_disk.push_back(id);
  serve_disk(log);
}

void bring_all_on(event_log_data& log) {
  for (auto at = log.clients.begin(); at != log.clients.end();) bring_on(log, at++->first);
}

void tell_line(event_log_data& log, const log_line& line) {
  bool wanted = std::any_of(log.clients.begin(), log.clients.end(), [](auto& entry) {
    return entry.second.reader.credits() > 0 && entry.second.reader.wanted()->wants(schema::Event::Type::LOGGING);
  });
  if (!wanted) return;
  auto event = event_of(line, log.origin.member);
  auto facts = event.read(facts_of);
  for (auto& [id, one] : log.clients)
    if (!one.on_disk) one.reader.tell_line(event, facts, log.ring, log.origin);
}

void forget(event_log_data& log, uint64_t id) {
  auto at = log.clients.find(id);
  if (at == log.clients.end()) return;
  log.rows_bytes -= at->second.rows_bytes;
  log.clients.erase(at);
}

void end(event_log_data& log, uint64_t id, const error& why) {
  auto at = log.clients.find(id);
  if (at == log.clients.end()) return;
  auto tell = std::move(at->second.ended);
  forget(log, id);
  if (tell) tell(why);
}

void end_reader_of(event_log_data& log, const std::string& durable, const error& why) {
  auto at = std::find_if(log.clients.begin(), log.clients.end(),
                         [&](auto& entry) { return entry.second.durable == durable; });
  if (at != log.clients.end()) end(log, at->first, why);
}

void start_ticking(event_log_data& log) {
  if (!std::exchange(log.ticking, true)) log.self->delayed_send(log.self, tick_period, event_tick{});
}

void tick(event_log_data& log) {
  log.ticking = false;
  if (log.clients.empty()) return;
  // What was committed while this actor was being restarted was told to nobody.
  if (log.ring.last() < log.suspect) log.ring.skip_to(log.suspect);
  log.suspect = log.with.db.last_seq();
  std::vector<uint64_t> given_up;
  for (auto& [id, one] : log.clients) {
    if (!one.on_disk) one.reader.tell_idle(log.ring, log.origin);
    if (one.rows_bytes > 0 && ++one.rows_ticks >= rows_ticks_max) given_up.push_back(id);
  }
  for (auto id : given_up) end(log, id, {fault::timed_out, "The snapshot was not read in time"});
  bring_all_on(log);
  start_ticking(log);
}

void save_soon(event_log_data& log) {
  if (!log.durables.unsaved() || std::exchange(log.saving, true)) return;
  log.self->delayed_send(log.self, save_period, save_acknowledged{});
}

void save_now(event_log_data& log) {
  log.saving = false;
  if (log.durables.unsaved()) propose_quietly(log.self, log.with, log.durables.take_unsaved());
}

} // namespace troupe
