#include "gateway/rest/live_streams.hpp"

#include "runtime/uuid.hpp"

#include <algorithm>
#include <atomic>
#include <openssl/crypto.h>

namespace troupe {

struct live_streams::data {
  struct entry {
    std::map<std::string, std::string> secrets; // of streams that are not connected yet
    std::vector<std::string> required;
    std::shared_ptr<stream_set> streams;
    std::string owner;
    std::string guest = {}; // who attached
  };
  std::map<std::string, entry> open; // only on the loop's thread
  std::map<uint64_t, loop::handle_ptr> timers;
  std::atomic<uint64_t> next_timer{1};
};

live_streams::live_streams(loop& on) : on_{on}, data_{std::make_shared<data>()} {}

live_streams::~live_streams() {
  on_.post([d = data_] {
    d->open.clear();
    d->timers.clear();
  });
}

uint64_t live_streams::after(std::chrono::milliseconds delay, std::function<void()> then) {
  auto id = data_->next_timer++;
  on_.post([this, d = data_, id, delay, then = std::move(then)] {
    d->timers[id] = on_.after(delay, [weak = std::weak_ptr{d}, id, then] {
      then();
      if (auto alive = weak.lock()) alive->timers.erase(id);
    });
  });
  return id;
}

void live_streams::cancel(uint64_t timer) {
  on_.post([d = data_, timer] { d->timers.erase(timer); });
}

void live_streams::open(const std::string& operation, const std::string& owner,
                        std::map<std::string, std::string> secrets, std::vector<std::string> required,
                        std::shared_ptr<stream_set> streams, std::chrono::seconds within) {
  on_.post([d = data_, operation, owner, secrets = std::move(secrets), required, streams = std::move(streams)] {
    d->open[operation] = {secrets, required, streams, owner};
  });
  if (required.empty()) return;
  after(within, [d = data_, operation] {
    auto at = d->open.find(operation);
    if (at == d->open.end()) return;
    auto& entry = at->second;
    bool missing = std::any_of(entry.required.begin(), entry.required.end(),
                               [&](auto& name) { return entry.secrets.count(name) > 0; });
    if (!missing) return;
    auto abandoned = entry.streams;
    d->open.erase(at);
    abandoned->abandoned();
  });
}

void live_streams::close(const std::string& operation) {
  on_.post([d = data_, operation] { d->open.erase(operation); });
}

void live_streams::cut(const std::string& owner) {
  on_.post([d = data_, owner] {
    std::vector<std::shared_ptr<stream_set>> theirs; // cutting one closes it here
    for (auto& [operation, entry] : d->open) {
      if (entry.owner == owner)
        theirs.push_back(entry.streams);
      else if (entry.guest == owner)
        entry.streams->dismiss();
    }
    for (auto& one : theirs) one->cut();
  });
}

void live_streams::let_go() {
  on_.post([d = data_] {
    for (auto& [operation, entry] : std::exchange(d->open, {})) entry.streams->let_go();
  });
}

void live_streams::attach(const std::string& operation, const std::string& user, window_size size,
                          std::function<void(outcome<secret_map>)> then) {
  on_.post([d = data_, operation, user, size, then = std::move(then)] {
    auto at = d->open.find(operation);
    if (at == d->open.end()) return then(fail(fault::not_found, "The command does not run any more"));
    auto names = at->second.streams->offer_seat(size);
    if (!names) return then(tl::unexpected{names.error()});
    secret_map made;
    for (auto& name : *names) made[name] = random_hex(32);
    at->second.secrets = made;
    at->second.guest = user;
    then(std::move(made));
  });
}

void live_streams::connect(const rest_request& from, const std::string& operation, const std::string& secret) {
  if (!from.http->wants_websocket) return reply_error(from, {fault::invalid, "This is a websocket"});
  if (secret.empty()) return reply_error(from, {fault::invalid, "Missing secret"});
  on_.post([d = data_, from, operation, secret] {
    auto at = d->open.find(operation);
    if (at == d->open.end()) return reply_error(from, {fault::not_found, "Operation not found"});
    auto& secrets = at->second.secrets;
    auto stream = std::find_if(secrets.begin(), secrets.end(), [&](auto& entry) {
      return entry.second.size() == secret.size() &&
             CRYPTO_memcmp(entry.second.data(), secret.data(), secret.size()) == 0;
    });
    if (stream == secrets.end()) return reply_error(from, {fault::forbidden, "Forbidden"});
    auto name = stream->first;
    if (!at->second.streams->stays_open(name)) secrets.erase(stream);
    from.answer.accept_websocket([streams = at->second.streams, name](std::shared_ptr<websocket> socket) {
      streams->connected(name, std::move(socket));
    });
  });
}

} // namespace troupe
