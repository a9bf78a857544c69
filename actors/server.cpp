#include "actors/access_change.hpp"
#include "actors/ask.hpp"
#include "actors/config_keys.hpp"
#include "actors/oidc_settings.hpp"
#include "actors/profiles.hpp"
#include "actors/server_keys.hpp"
#include "actors/trust_password.hpp"

#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

constexpr std::string_view password_key = "core.trust_password";
constexpr std::string_view address_keys[] = {"core.https_address", "core.bus_address", "core.metrics_address"};
constexpr std::string_view proxy_key = "core.https_trusted_proxy";

bool differs(const config_map& before, const config_map& after, std::string_view key) {
  return get(before, key) != get(after, key);
}

// New listeners are there before the commit, old ones go after it: an address that cannot be had changes nothing.
void add_door_steps(saga& plan, const config_map& before, const config_map& after) {
  bool touched = differs(before, after, proxy_key);
  for (auto key : address_keys) {
    if (!differs(before, after, key)) continue;
    touched = true;
    plan.before.push_back({"door.listen", {{"key", std::string{key}}, {"addresses", std::string{get(after, key)}}}});
  }
  if (touched) plan.after.push_back({"door.apply", {}});
}

// A provider that does not answer, or is not who it should be, changes nothing. True: who came in by the one of before
// is to be cut off.
bool add_provider_step(saga& plan, const config_map& before, const config_map& after) {
  auto was = oidc_settings_of(before), is = oidc_settings_of(after);
  if (is.on() && (!was.on() || was.issuer != is.issuer))
    plan.before.push_back({"oidc.discover", {{"issuer", is.issuer}}});
  return was.on() && was != is;
}

// What is shown in place of a secret means, when it comes back: leave it as it is.
void keep_hidden(config_map& after, const config_map& before) {
  for (auto& [key, value] : after)
    if (auto* row = find_server_key(key); row && row->type == server_value::secret && value == "true")
      value = get(before, key);
}

outcome<std::shared_ptr<saga>> plan_config(const snapshot& records, const change_server_config& request) {
  auto before = server_config(records);
  auto after = request.config;
  keep_hidden(after, before);
  if (request.patch)
    for (auto& [key, value] : before) after.emplace(key, value);
  std::erase_if(after, [](auto& entry) { return entry.second.empty(); });
  if (auto good = check_server_config(after); !good) return tl::unexpected{good.error()};
  if (auto good = check_oidc_config(after); !good) return tl::unexpected{good.error()};
  auto plan = std::make_shared<saga>();
  plan->kind = "server.update";
  plan->description = "Updating server configuration";
  plan->head = request.head;
  plan->entity = "server";
  add_door_steps(*plan, before, after);
  config_map context;
  if (add_provider_step(*plan, before, after)) context.emplace(narrowed_mark, "true");
  for (auto& [key, value] : before)
    if (!after.count(key)) plan->commit.writes.push_back(erase(table::config, key));
  for (auto& [key, value] : after) plan->commit.writes.push_back({table::config, key, value});
  plan->commit.events.push_back(lifecycle_event(*request.head, "server", "server", "config-updated", "/1.0", context));
  return plan;
}

/// The password that has to be hashed first; empty: none.
std::string new_password(const change_server_config& request) {
  auto given = get(request.config, password_key);
  return given == "true" ? std::string{} : std::string{given};
}

using record_promise = sure_promise;

void begin(caf::event_based_actor* self, services& with, const change_server_config& request, record_promise promise) {
  auto plan = plan_config(with.db.read(), request);
  if (!plan) {
    promise.deliver(to_caf(plan.error()));
    return;
  }
  ask_for<operation_record>(promise, self, with.find(role::operations), begin_saga{*plan});
}

} // namespace

config_map server_config(const snapshot& records) {
  config_map out;
  records.scan(table::config, "", [&](std::string_view key, std::string_view value) {
    out.emplace(key, value);
    return true;
  });
  return out;
}

caf::behavior server(caf::event_based_actor* self, services& with) {
  return {
      [](resume& work) { work.run(); },
      [self, &with](const change_server_config& request) -> caf::result<operation_record> {
        auto password = new_password(request);
        if (auto good = check_server_value(*find_server_key(password_key), password); !good)
          return to_caf(good.error());
        auto promise = promise_of(self);
        if (password.empty()) {
          begin(self, with, request, promise);
          return promise;
        }
        on_blocking_thread(
            self, with, [password] { return hash_password(password); },
            [self, &with, request, promise](const outcome<std::string>& hash) mutable {
              if (!hash) return void(promise.deliver(to_caf(hash.error())));
              auto hashed = request;
              hashed.config.insert_or_assign(std::string{password_key}, *hash);
              begin(self, with, hashed, promise);
            });
        return promise;
      },
  };
}

} // namespace troupe
