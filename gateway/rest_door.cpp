#include "gateway/rest_door.hpp"

#include "actors/server_keys.hpp"
#include "gateway/door_limits.hpp"
#include "gateway/rest/admission.hpp"
#include "gateway/rest/authentication_log.hpp"
#include "gateway/rest/browser.hpp"
#include "gateway/rest/live_streams.hpp"
#include "gateway/rest/routes.hpp"
#include "gateway/shared_collection.hpp"
#include "gateway/trust.hpp"
#include "gateway/trust_watch.hpp"
#include "runtime/certificate.hpp"

namespace troupe {
namespace {

constexpr uint64_t json_limit = 4 << 20;             // a request's JSON
constexpr uint64_t strangers_limit = 64 << 10;       // the same, from somebody unknown
constexpr uint64_t upload_limit = uint64_t{1} << 40; // an image or a file

std::string project_of(const http_request& request) {
  auto given = request.parameter("project");
  return given.empty() ? "default" : std::string{given};
}

std::shared_ptr<const header> head_of(const http_request& request, principal who) {
  auto head = std::make_shared<header>();
  head->who = std::move(who);
  head->project = project_of(request);
  return head;
}

// What a project shares with project default lies there.
outcome<void> enter_project_of(rest_request& one, const route& row, const snapshot& records) {
  one.project = one.head->project;
  bool is_known =
      one.head->who.knows(one.project) || one.project == "default"; // of the others nobody learns which ones there are
  if (!is_known || !records.get(table::projects, one.project)) return fail(fault::not_found, "Project not found");
  auto& path = one.http->segments;
  if (path.size() < 2 || one.project == "default") return {};
  auto* shared = find_shared_collection(path[1]);
  if (!shared) return {};
  auto home = home_of(records, one.head->project, shared->what);
  bool reads = one.http->method == "GET" || one.http->method == "HEAD";
  if (!reads)
    if (auto judged = judge_borrowed(one.head->who, home, row, one.parameters, records); !judged) return judged;
  auto head = std::make_shared<header>(*one.head);
  head->project = std::move(home);
  one.head = std::move(head);
  return {};
}

/// Judged before a byte of the body is kept: a stranger must not fill the disk with what is refused afterwards.
body_rule rule_of(services& with, const http_request& request) {
  auto found = match(request.method, request.segments);
  bool file = found.row && (found.row->upload || (found.row->takes_files &&
                                                  request.header("Content-Type") == "application/octet-stream"));
  body_rule out{file, file ? upload_limit : json_limit};
  if (request.peer.address.empty() || !found.row) return out;
  auto records = with.db.read();
  auto who = caller_of(request.peer, records).who;
  out.forbidden = !judge_access(who, project_of(request), *found.row, found.parameters, records);
  if (who.level == trust::none) out.limit = std::min(out.limit, strangers_limit);
  return out;
}

void dispatch(const route& row, const rest_request& one) {
  try {
    row.handle(one);
  } catch (const std::exception& broken) { // malformed stored or sent data; never the end of the daemon
    log().error("{} {}: {}", one.http->method, one.http->path, broken.what());
    reply_error(one, {fault::internal, "The request could not be handled"});
  }
}

http_response no_such_route(bool path_known) {
  auto response = error_response(
      {path_known ? fault::unsupported : fault::not_found, path_known ? "not implemented" : "not found"});
  if (path_known) response.status = 501;
  return response;
}

struct entrance {
  rest_context context;
  authentication_log guests;
};

/// True: the caller may go on.
bool let_in(entrance& at, const rest_request& one, const route& row, const snapshot& records,
            const std::string& doubt) {
  auto judged = judge_access(one.head->who, one.head->project, row, one.parameters, records);
  bool over_network = !one.http->peer.address.empty();
  bool anonymous = one.head->who.username.empty(); // also who is let in for metrics only
  if (over_network && judged && !anonymous) at.guests.came_in(*one.head);
  if (judged) return true;
  if (over_network)
    at.guests.turned_away(*one.head, one.http->peer,
                          {{"method", one.http->method}, {"path", one.http->path.substr(0, 200)}},
                          doubt.empty() ? "The caller has no right to this" : doubt);
  reply_error(one, judged.error());
  return false;
}

/// The door for metrics serves these and what a client asks for before them.
bool is_offered(door_kind at, const route& row) {
  return at != door_kind::metrics || row.who == access::metrics ||
         (row.method == "GET" && (row.pattern == "/" || row.pattern == "/1.0"));
}

/// A stranger is as good as a certificate for metrics where these need no authentication.
void welcome_scraper(principal& who, const route* row, const snapshot& records) {
  if (!row || row->who != access::metrics || who.level != trust::none) return;
  if (server_text(records, "core.metrics_authentication") != "false") return;
  who.level = trust::metrics;
  who.projects = {std::string{every_project}};
}

void handle(entrance& at, door_kind which, http_request request, responder answer) {
  auto records = at.context.with.db.read();
  auto found = match(request.method, request.segments);
  if (found.row && !is_offered(which, *found.row)) found = {};
  auto caller = caller_of(request.peer, records);
  welcome_scraper(caller.who, found.row, records);
  rest_request one{at.context, std::make_shared<http_request>(std::move(request)), answer, std::move(found.parameters),
                   nullptr};
  one.head = head_of(*one.http, std::move(caller.who));
  allow_origin(*one.http, records, answer);
  if (one.http->method == "OPTIONS") return answer.send({});
  if (auto judged = judge_origin(*one.http, records, at.context.listeners); !judged)
    return reply_error(one, judged.error());
  if (!found.row) return answer.send(no_such_route(found.path_known));
  if (!let_in(at, one, *found.row, records, caller.doubt)) return;
  bool chooses_itself = found.row->who == access::metrics; // whose figures
  auto entered = chooses_itself ? outcome<void>{} : enter_project_of(one, *found.row, records);
  if (!entered) return reply_error(one, entered.error());
  admit(std::move(one), *found.row, [row = found.row](const rest_request& admitted) { dispatch(*row, admitted); });
}

} // namespace

struct rest_door::data {
  data(services& with, tls_listeners& listeners)
      : streams{with.io}, at{{with, streams, listeners}, authentication_log{with}} {}

  std::unique_ptr<http_server> make_server(door_kind which) {
    auto& with = at.context.with;
    return std::make_unique<http_server>(
        with.io, http_limits_of(which), with.dir.spool,
        [&with](const http_request& head) { return rule_of(with, head); },
        [this, which](http_request request, responder answer) {
          handle(at, which, std::move(request), std::move(answer));
        });
  }

  void close_tls() {
    for (auto which : {tls_door::https, tls_door::metrics}) at.context.listeners.close(which);
  }

  live_streams streams;
  entrance at;
  std::unique_ptr<http_server> server;
  std::unique_ptr<trust_watch> watch;
};

rest_door::rest_door(services& with, tls_listeners& listeners) : data_{std::make_unique<data>(with, listeners)} {}

rest_door::~rest_door() {
  data_->watch.reset();
  data_->close_tls();
  data_->server.reset();
}

outcome<void> rest_door::listen(const std::string& unix_socket) {
  auto& context = data_->at.context;
  data_->server = data_->make_server(door_kind::rest_unix);
  context.listeners.open(tls_door::https, [d = data_.get()] { return d->make_server(door_kind::rest_tls); });
  context.listeners.open(tls_door::metrics, [d = data_.get()] { return d->make_server(door_kind::metrics); });
  data_->watch = std::make_unique<trust_watch>(context.with, [&context](const std::string& fingerprint) {
    context.listeners.disconnect(
        [&](const http_peer& peer) { return peer.shown && peer.shown->fingerprint == fingerprint; });
    context.streams.cut(fingerprint);
  });
  return data_->server->listen_unix(unix_socket, 0660);
}

void rest_door::stop_listening() {
  data_->close_tls();
  if (data_->server) data_->server->stop_listening();
}

} // namespace troupe
