#include "gateway/rest_door.hpp"

#include "actors/project_keys.hpp"
#include "gateway/rest/admission.hpp"
#include "gateway/rest/live_streams.hpp"
#include "gateway/rest/routes.hpp"

namespace troupe {
namespace {

constexpr uint64_t json_limit = 4 << 20;             // a request's JSON
constexpr uint64_t upload_limit = uint64_t{1} << 40; // an image or a file

std::shared_ptr<const header> head_of(const http_request& request) {
  auto head = std::make_shared<header>();
  head->who = unix_principal(request.peer.uid);
  if (auto project = request.parameter("project"); !project.empty()) head->project = project;
  return head;
}

// A project without images, profiles or networks of its own uses those of project default.
struct shared_collection {
  std::string_view segment;
  feature what;
};
constexpr shared_collection shared_collections[] = {
    {"images", feature::images}, {"profiles", feature::profiles}, {"networks", feature::networks}};

// False: there is no such project.
bool enter_project_of(rest_request& one) {
  auto records = one.with().db.read();
  if (!records.get(table::projects, one.head->project)) return false;
  auto& path = one.http->segments;
  if (path.size() < 2 || one.head->project == "default") return true;
  for (auto& [segment, what] : shared_collections) {
    if (path[1] != segment) continue;
    auto head = std::make_shared<header>(*one.head);
    head->project = home_of(records, head->project, what);
    one.head = std::move(head);
  }
  return true;
}

body_rule rule_of(const http_request& head) {
  auto found = match(head.method, head.segments);
  if (found.row && found.row->upload) return {true, upload_limit};
  return {false, json_limit};
}

void dispatch(const route& row, const rest_request& one) {
  try {
    row.handle(one);
  } catch (const std::exception& broken) { // malformed stored or sent data; never the end of the daemon
    log().error("{} {}: {}", one.http->method, one.http->path, broken.what());
    reply_error(one, {fault::internal, "The request could not be handled"});
  }
}

void handle(rest_context& context, http_request request, responder answer) {
  auto found = match(request.method, request.segments);
  rest_request one{context, std::make_shared<http_request>(std::move(request)), answer, std::move(found.parameters),
                   nullptr};
  one.head = head_of(*one.http);
  if (!found.row) {
    auto response = error_response(
        {found.path_known ? fault::unsupported : fault::not_found, found.path_known ? "not implemented" : "not found"});
    if (found.path_known) response.status = 501;
    return answer.send(std::move(response));
  }
  if (!enter_project_of(one)) return reply_error(one, {fault::not_found, "Project not found"});
  admit(std::move(one), *found.row, [row = found.row](const rest_request& admitted) { dispatch(*row, admitted); });
}

} // namespace

struct rest_door::data {
  explicit data(services& with) : streams{with.io}, context{with, streams} {}

  live_streams streams;
  rest_context context;
  std::unique_ptr<http_server> server;
};

rest_door::rest_door(services& with) : data_{std::make_unique<data>(with)} {}

rest_door::~rest_door() { data_->server.reset(); }

outcome<void> rest_door::listen(const std::string& unix_socket) {
  auto& context = data_->context;
  data_->server = std::make_unique<http_server>(
      context.with.io, http_limits{}, context.with.dir.spool, rule_of,
      [&context](http_request request, responder answer) { handle(context, std::move(request), answer); });
  return data_->server->listen_unix(unix_socket, 0660);
}

void rest_door::stop_listening() {
  if (data_->server) data_->server->stop_listening();
}

} // namespace troupe
