#include "gateway/file_events.hpp"
#include "gateway/instance_logs.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"

namespace troupe {
namespace {

using kind = instance_logs::kind;

// On a blocking thread, if there is such an instance; the work's error is the answer.
void with_logs(const rest_request& from, std::function<outcome<void>(const instance_logs& logs)> work) {
  auto key = in_project(from.head->project, from.parameter(0));
  if (!from.with().db.read().get(table::instances, key))
    return reply_error(from, {fault::not_found, "Instance not found"});
  bool taken = from.with().blocking.submit([from, work = std::move(work)] {
    auto done = work(instance_logs{from.with(), from.head->project, from.parameter(0)});
    if (!done) reply_error(from, done.error());
  });
  if (!taken) reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

std::string below(kind which) { return which == kind::log ? "/logs/" : "/logs/exec-output/"; }

void tell(const rest_request& from, kind which, std::string_view action) {
  tell_instance_event(from.with(), *from.head, from.parameter(0), action, below(which) + from.parameter(1), {});
}

void list_logs(const rest_request& from, kind which) {
  with_logs(from, [from, which](const instance_logs& logs) -> outcome<void> {
    auto names = logs.list(which);
    if (!names) return tl::unexpected{names.error()};
    json_list list;
    for (auto& name : *names) list.url("/1.0/instances/" + from.parameter(0) + below(which), name);
    reply_sync(from, std::move(list).take());
    return {};
  });
}

void send_log(const rest_request& from, kind which) {
  with_logs(from, [from, which](const instance_logs& logs) -> outcome<void> {
    auto log = logs.open(which, from.parameter(1));
    if (!log) return tl::unexpected{log.error()};
    http_response out;
    out.headers.emplace_back("Content-Type", "application/octet-stream");
    out.headers.emplace_back("Content-Disposition", "inline;filename=" + from.parameter(1));
    out.body.emplace_back(file_range{std::move(log->content), 0, log->size});
    tell(from, which, "instance-log-retrieved");
    from.answer.send(std::move(out));
    return {};
  });
}

void remove_log(const rest_request& from, kind which) {
  with_logs(from, [from, which](const instance_logs& logs) -> outcome<void> {
    if (auto done = logs.remove(which, from.parameter(1)); !done) return done;
    tell(from, which, "instance-log-deleted");
    reply_sync(from, "{}");
    return {};
  });
}

} // namespace

void get_instance_logs(const rest_request& from) { list_logs(from, kind::log); }
void get_instance_log(const rest_request& from) { send_log(from, kind::log); }
void delete_instance_log(const rest_request& from) { remove_log(from, kind::log); }
void get_exec_outputs(const rest_request& from) { list_logs(from, kind::exec_output); }
void get_exec_output(const rest_request& from) { send_log(from, kind::exec_output); }
void delete_exec_output(const rest_request& from) { remove_log(from, kind::exec_output); }

} // namespace troupe
