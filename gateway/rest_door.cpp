#include "gateway/rest_door.hpp"

#include "actors/server_keys.hpp"
#include "gateway/door_limits.hpp"
#include "gateway/oidc/login_pages.hpp"
#include "gateway/rest/admission.hpp"
#include "gateway/rest/all_projects.hpp"
#include "gateway/rest/authentication_log.hpp"
#include "gateway/rest/browser.hpp"
#include "gateway/rest/exec_streams.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/live_streams.hpp"
#include "gateway/rest/routes.hpp"
#include "gateway/shared_collection.hpp"
#include "gateway/trust.hpp"
#include "gateway/trust_watch.hpp"
#include "runtime/certificate.hpp"

#include <sstream>

namespace troupe {
namespace {

constexpr uint64_t json_limit = 4 << 20;             // a request's JSON
constexpr uint64_t strangers_limit = 64 << 10;       // the same, from somebody unknown
constexpr uint64_t upload_limit = uint64_t{1} << 40; // an image or a file

std::string project_of(const http_request& request) {
  auto given = request.parameter("project");
  return given.empty() ? "default" : std::string{given};
}

/// Empty: a list of all projects, of what the caller may see there.
std::string judged_project(const http_request& request, const route& row) {
  return is_of_all_projects(request, row) ? std::string{} : project_of(request);
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

struct entrance {
  rest_context context;
  oidc_gate gate;
  authentication_log guests;
  login_pages pages;
  std::unique_ptr<trust_watch> watch;
};

/// Judged before a byte of the body is kept: a stranger must not fill the disk with what is refused afterwards.
body_rule rule_of(entrance& at, const http_request& request) {
  auto found = match(request.method, request.segments);
  bool file = found.row && (found.row->upload ||
                            (found.row->takes_files && request.header("Content-Type") == "application/octet-stream"));
  body_rule out{file, file ? upload_limit : json_limit};
  if (request.peer.address.empty() || !found.row) return out;
  auto records = at.context.with.db.read();
  auto known = at.gate.caller_at_once(request, records);
  bool proved = known && !known->refused; // who is not will be told why, and that needs the whole request
  if (proved)
    out.forbidden =
        !judge_access(known->who, judged_project(request, *found.row), *found.row, found.parameters, records);
  if (!proved || known->who.level == trust::none) out.limit = std::min(out.limit, strangers_limit);
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

http_response not_authenticated() {
  http_response out;
  out.status = 401;
  out.headers = {{"Content-Type", "application/json"}};
  out.body.emplace_back(std::string{R"({"type":"error","status":"","status_code":0,"operation":"","error_code":401,)"
                                    R"("error":"not authenticated","metadata":null})"
                                    "\n"});
  return out;
}

/// What a client that can log in needs to know for it, by the names that LXD's clients read.
void tell_how_to_log_in(const responder& answer, const oidc_settings& settings) {
  std::istringstream words{settings.scopes};
  json_list scopes;
  for (std::string word; words >> word;) write_json_string(scopes.next(), word);
  answer.add_header("X-LXD-OIDC-issuer", settings.issuer);
  answer.add_header("X-LXD-OIDC-clientid", settings.device_client);
  answer.add_header("X-LXD-OIDC-audience", settings.audience == settings.client ? "" : settings.audience);
  answer.add_header("X-LXD-OIDC-groups-claim", settings.groups_claim);
  answer.add_header("X-LXD-OIDC-scopes", std::move(scopes).take());
}

void turn_away(entrance& at, const rest_request& one, const std::string& why) {
  at.guests.turned_away(*one.head, one.http->peer,
                        {{"method", one.http->method}, {"path", one.http->path.substr(0, 200)}}, why);
}

/// True: the caller may go on.
bool let_in(entrance& at, const rest_request& one, const route& row, const snapshot& records,
            const std::string& doubt) {
  auto judged = judge_access(one.head->who, judged_project(*one.http, row), row, one.parameters, records);
  bool over_network = !one.http->peer.address.empty();
  bool anonymous = one.head->who.username.empty(); // also who is let in for metrics only
  if (over_network && judged && !anonymous) at.guests.came_in(*one.head);
  if (judged) return true;
  if (over_network) turn_away(at, one, doubt.empty() ? "The caller has no right to this" : doubt);
  if (auto settings = oidc_settings_of(records); anonymous && over_network && settings.on())
    tell_how_to_log_in(one.answer, settings);
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

/// A token that is not believed: the client is told how to get another one.
void refuse_token(entrance& at, const rest_request& one, const error& why, const snapshot& records) {
  if (why.code != fault::forbidden) return reply_error(one, why);
  turn_away(at, one, why.message);
  tell_how_to_log_in(one.answer, oidc_settings_of(records));
  one.answer.send(not_authenticated());
}

void handle(entrance& at, door_kind which, std::shared_ptr<http_request> request, responder answer, caller caller,
            const snapshot& records) {
  auto found = match(request->method, request->segments);
  if (found.row && !is_offered(which, *found.row)) found = {};
  welcome_scraper(caller.who, found.row, records);
  rest_request one{at.context, std::move(request), answer, std::move(found.parameters), nullptr};
  one.head = head_of(*one.http, std::move(caller.who));
  allow_origin(*one.http, records, answer);
  if (one.http->method == "OPTIONS") return answer.send({});
  if (auto judged = judge_origin(*one.http, records, at.context.listeners); !judged)
    return reply_error(one, judged.error());
  if (caller.refused) return refuse_token(at, one, *caller.refused, records);
  if (!found.row) return answer.send(no_such_route(found.path_known));
  if (!let_in(at, one, *found.row, records, caller.doubt)) return;
  if (caller.until) at.watch->trusts(one.head->who.username, caller.until);
  bool chooses_itself = found.row->who == access::metrics; // whose figures
  auto entered = chooses_itself ? outcome<void>{} : enter_project_of(one, *found.row, records);
  if (!entered) return reply_error(one, entered.error());
  admit(std::move(one), *found.row, [row = found.row](const rest_request& admitted) { dispatch(*row, admitted); });
}

void receive(entrance& at, door_kind which, http_request request, responder answer) {
  auto records = at.context.with.db.read();
  auto known = at.gate.caller_at_once(request, records);
  auto held = std::make_shared<http_request>(std::move(request));
  if (which == door_kind::rest_tls && at.pages.serve(held, answer)) return;
  if (known) return handle(at, which, std::move(held), std::move(answer), std::move(*known), records);
  at.gate.find_caller(*held, [&at, which, held, answer](caller found) {
    handle(at, which, held, answer, std::move(found), at.context.with.db.read());
  });
}

/// Who we are towards clients of the unix socket that say STARTTLS. The files are made with the first of them.
void lend_identity(rest_context& context, std::function<void(std::shared_ptr<const tls_identity>)> answer) {
  if (auto made = context.listeners.present().identity) return answer(std::move(made));
  auto make = [&listeners = context.listeners, answer] {
    auto made = listeners.identity();
    if (!made) log().error("{}", made.error().message);
    answer(made ? *made : nullptr);
  };
  if (!context.with.blocking.submit(make)) answer(nullptr);
}

} // namespace

struct rest_door::data {
  data(services& with, tls_listeners& listeners, transfers& moves)
      : streams{with.io}, at{{with, streams, listeners, moves},
                             oidc_gate{with},
                             authentication_log{with},
                             login_pages{with, at.gate, at.guests},
                             nullptr} {}

  std::unique_ptr<http_server> make_server(door_kind which) {
    auto& with = at.context.with;
    return std::make_unique<http_server>(
        with.io, http_limits_of(which), with.dir.spool, [this](const http_request& head) { return rule_of(at, head); },
        [this, which](http_request request, responder answer) {
          receive(at, which, std::move(request), std::move(answer));
        });
  }

  void close_tls() {
    for (auto which : {tls_door::https, tls_door::metrics}) at.context.listeners.close(which);
  }

  live_streams streams;
  entrance at;
  std::unique_ptr<http_server> server;
};

rest_door::rest_door(services& with, tls_listeners& listeners, transfers& moves)
    : data_{std::make_unique<data>(with, listeners, moves)} {}

rest_door::~rest_door() {
  if (data_->at.watch) data_->at.watch->stop();
  data_->close_tls();
  data_->at.context.listeners.cut_also(nullptr);
  data_->server.reset();
  data_->at.gate.close();
}

outcome<void> rest_door::listen(const std::string& unix_socket) {
  auto& context = data_->at.context;
  auto lost = [&context, &gate = data_->at.gate](const std::string& user) {
    context.listeners.disconnect([&](const http_peer& peer) { return peer.shown && peer.shown->fingerprint == user; });
    context.streams.cut(user);
    gate.forget(user);
  };
  data_->at.watch = std::make_unique<trust_watch>(context.with, lost);
  adopt_execs(context); // before anybody can ask for them
  data_->server = data_->make_server(door_kind::rest_unix);
  data_->server->offer_starttls([&context](auto answer) { lend_identity(context, std::move(answer)); });
  context.listeners.cut_also(data_->server.get());
  context.listeners.open(tls_door::https, [d = data_.get()] { return d->make_server(door_kind::rest_tls); });
  context.listeners.open(tls_door::metrics, [d = data_.get()] { return d->make_server(door_kind::metrics); });
  return data_->server->listen_unix(unix_socket, 0660);
}

void rest_door::trusts(const std::string& user, int64_t until) { data_->at.watch->trusts(user, until); }

void rest_door::stop_listening() {
  data_->streams.let_go(); // before their clients are cut off
  data_->close_tls();
  if (data_->server) data_->server->stop_listening();
}

} // namespace troupe
