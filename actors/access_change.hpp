#pragma once

#include "actors/identities.hpp"
#include "actors/saga.hpp"
#include "runtime/certificate.hpp"

#include <algorithm>

namespace troupe {

// Judge a change against the records and make a saga of it. None has steps, so that each is one commit.

outcome<std::shared_ptr<saga>> plan_identity(const snapshot& records, const change_identity& request);
outcome<std::shared_ptr<saga>> plan_group(const snapshot& records, const change_group& request);
outcome<std::shared_ptr<saga>> plan_provider_group(const snapshot& records, const change_provider_group& request);
outcome<std::shared_ptr<saga>> plan_join(const snapshot& records, const join_by_token& request);
outcome<std::shared_ptr<saga>> plan_login(const snapshot& records, const note_login& request);

// What they share.

/// A saga about access, which is the server's and no project's. `kind` is what the entity's records are called.
std::shared_ptr<saga> access_saga(const header& from, std::string kind, std::string description,
                                  const std::string& entity);
/// `narrowed`: somebody may do less than before, so that what he has open is to be cut.
message<schema::Event> access_event(const saga& plan, std::string_view type, const std::string& name,
                                    std::string_view action, bool narrowed);
/// Nobody gives what he does not have, but who manages permissions; and only an administrator makes administrators.
outcome<void> check_gift(const principal& who, const rights& given);
/// They exist, none twice.
outcome<void> check_groups(const snapshot& records, const std::vector<std::string>& groups);
/// They are still what was judged when it is committed: a right must not be given by a group that is another by then.
void expect_groups(const snapshot& records, saga& plan, const std::vector<std::string>& groups);
/// Of somebody who can prove by it who he is; fault::invalid.
outcome<certificate> usable_certificate(std::string_view given);
/// Whether the request says something of the field: a PATCH need not.
template <class Request>
bool is_given(const Request& request, std::string_view field) {
  return request.what != decltype(request.what)::patch ||
         std::find(request.given.begin(), request.given.end(), field) != request.given.end();
}
/// Identities' names and the like.
outcome<void> check_access_name(std::string_view noun, std::string_view name);

/// What an event says of those who may now do less; see trust_watch.
inline constexpr std::string_view narrowed_mark = "narrowed";

} // namespace troupe
