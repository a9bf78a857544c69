#include "actors/operation_record.hpp"
#include "actors/server_keys.hpp"
#include "gateway/rest/exec_streams.hpp"

#include <csignal>
#include <latch>
#include <mutex>

namespace troupe {
namespace {

constexpr int64_t day_ns = 24LL * 3600 * 1'000'000'000;

void end_for_good(exec_session& session) {
  static_cast<void>(session.signal(SIGKILL));
  session.forget();
}

/// Whether somebody may still ask for it. One that no record knows was begun just before a crash; or long ago.
bool is_wanted(const snapshot& records, const std::string& operation) {
  if (auto record = load<schema::Operation>(records, table::operations, operation)) return !is_over(state_of(*record));
  return operation >= first_id_of(now_ns() - server_number(records, "operations.retention.days") * day_ns);
}

bool adopt(rest_context& context, const std::string& operation) {
  auto& with = context.with;
  auto found = with.containers.find_exec(operation, false);
  if (!found && found.error().code != fault::not_found) log().warn("Exec {}: {}", operation, found.error().message);
  if (!found) return false;
  auto facts = facts_in(found->note);
  auto records = with.db.read();
  if (!facts || !is_wanted(records, operation)) return end_for_good(*found->session), false;
  if (!records.get(table::operations, operation))
    caf::anon_send(with.find(role::operations), resume_live{facts->operation});
  auto streams = std::make_shared<exec_streams>(context, *facts, nullptr, nullptr);
  context.streams.open(operation, facts->owner, facts->secrets, {}, streams);
  with.io.post([streams, session = exec_session_ptr{std::move(found->session)}] { streams->resume(session); });
  return true;
}

/// The operations of commands that did not outlive the daemon with us.
void end_lost(services& with, const std::set<std::string>& alive) {
  auto records = with.db.read();
  records.scan(table::journal, "", [&](std::string_view id, std::string_view) {
    auto record = load<schema::Operation>(records, table::operations, std::string{id});
    bool exec = record && record->read([](auto op) { return view(op.getKind()) == "instance.exec"; });
    if (exec && !alive.contains(std::string{id}))
      caf::anon_send(with.find(role::operations),
                     finish_live{std::string{id},
                                 false,
                                 {fault::backend_failed, "The command was lost while the daemon was not there"},
                                 {{"return", "-1"}}});
    return true;
  });
}

} // namespace

void adopt_execs(rest_context& context) {
  auto found = context.with.containers.list_execs();
  std::latch all{static_cast<std::ptrdiff_t>(found.size())};
  std::mutex lock;
  std::set<std::string> alive;
  for (auto& operation : found) {
    auto work = [&, operation] {
      if (adopt(context, operation)) {
        std::lock_guard hold{lock};
        alive.insert(operation);
      }
      all.count_down();
    };
    if (!context.with.blocking.submit(work)) work();
  }
  all.wait();
  end_lost(context.with, alive);
}

} // namespace troupe
