#pragma once

#include "actors/operations.hpp"
#include "gateway/door.hpp"
#include "gateway/http_server.hpp"
#include "messages/json.hpp"
#include "messages/json_read.hpp"
#include "messages/rights.hpp"

namespace troupe {

class live_streams;
class tls_listeners;
class transfers;

/// What all handlers share. Built by the REST door, outlives every request.
struct rest_context {
  services& with;
  live_streams& streams;
  tls_listeners& listeners;
  transfers& moves;
};

/// One REST request on its way. Copyable; any thread.
struct rest_request {
  rest_context& context;
  std::shared_ptr<http_request> http;
  responder answer;
  std::vector<std::string> parameters; // what the pattern's braces matched, decoded
  std::shared_ptr<const header>
      head;                 // its project is where the things lie: default's, if the one asked for shares them
  std::string project = {}; // asked for

  /// Whether the caller may see such a thing of the project asked for.
  bool sees(std::string_view type, std::string_view name) const {
    return head->who.may("can_view", {std::string{type}, project, std::string{name}});
  }
  const std::string& parameter(size_t i) const { return parameters[i]; }
  services& with() const { return context.with; }
  int recursion() const;
  std::string etag() const; // If-Match without quotes
};

using rest_handler = void (*)(const rest_request& request);

// ---- answers (rest-api section 2)

void reply_error(const rest_request& to, const error& why);
/// `metadata` is JSON.
void reply_sync(const rest_request& to, std::string_view metadata, const std::string& etag = {});
void reply_created(const rest_request& to, const std::string& location);
/// 202 with the operation; `secrets`: JSON members put into its metadata for this reader only.
void reply_operation(const rest_request& to, const operation_record& record, const std::string& secrets = {});
/// What the request would do, or why it would be refused.
void reply_plan(const rest_request& to, const outcome<operation_record>& forecast);
http_response error_response(const error& why);

// ---- asking actors

/// Sends a request to the actor of that role; `then(outcome<Reply>)` runs in the door's actor.
template <class Reply, class Then, class... Args>
void ask(const rest_request& from, role whom, Then then, Args... args) {
  ask_through<Reply>(role::rest_door, from.with(), whom, std::move(then), std::move(args)...);
}

/// Asks for an operation. The repeat of a request that has begun one (Idempotency-Key) gets that one again; a dry run
/// (plan=true) is answered here, with 200.
void ask_operation(const rest_request& from, role whom, caf::message request,
                   std::function<void(const outcome<operation_record>&)> then);

/// Answers 202 with the operation, or its refusal.
void reply_begun(const rest_request& to, const outcome<operation_record>& record);
/// Answers when the operation has ended: 200 or, with a location, 201; its error as the answer's.
void reply_at_end(const rest_request& to, const outcome<operation_record>& record, const std::string& location);

template <class... Args>
void ask_async(const rest_request& from, role whom, Args... args) {
  ask_operation(from, whom, caf::make_message(std::move(args)...),
                [from](const outcome<operation_record>& record) { reply_begun(from, record); });
}

template <class... Args>
void ask_sync(const rest_request& from, role whom, const std::string& location, Args... args) {
  ask_operation(from, whom, caf::make_message(std::move(args)...),
                [from, location](const outcome<operation_record>& record) { reply_at_end(from, record, location); });
}

/// Work that reads much or from the host: on a blocking thread; its outcome is the metadata of a sync answer.
void reply_from_blocking_thread(const rest_request& to, std::function<outcome<std::string>()> work);

// ---- reading the request

outcome<nlohmann::json> json_body(const rest_request& from);

template <class Schema>
outcome<message<Schema>> body_of(const rest_request& from) {
  auto json = json_body(from);
  if (!json) return tl::unexpected{json.error()};
  return message_from<Schema>(*json);
}

/// The top-level keys of the body, lower case (PATCH).
outcome<std::vector<std::string>> given_fields(const rest_request& from);

} // namespace troupe
