#include "backends/sink/module/entry.hpp"
#include "backends/sink/sink_config.hpp"

#include <atomic>
#include <mutex>
#include <nats/nats.h>

namespace troupe {
namespace {

template <auto Destroy>
struct destroyer {
  template <class T>
  void operator()(T* thing) const {
    Destroy(thing);
  }
};
template <class T, auto Destroy>
using owned = std::unique_ptr<T, destroyer<Destroy>>;

using options_ptr = owned<natsOptions, natsOptions_Destroy>;
using connection_ptr = owned<natsConnection, natsConnection_Destroy>;
using stream_ptr = owned<jsCtx, jsCtx_Destroy>;
using message_ptr = owned<natsMsg, natsMsg_Destroy>;

std::optional<error> problem_of(natsStatus status, const std::string& what) {
  if (status == NATS_OK) return std::nullopt;
  const char* more = nats_GetLastError(nullptr);
  return error{status == NATS_TIMEOUT ? fault::timed_out : fault::backend_failed,
               what + ": " + natsStatus_GetText(status) + (more && *more ? " (" + std::string{more} + ")" : "")};
}

// About this event, whatever the server: larger than it takes.
bool refuses_event(natsStatus status) { return status == NATS_MAX_PAYLOAD; }

class nats_sink : public sink_writer {
public:
  nats_sink(std::string name, const config_map& config)
      : name_{std::move(name)}, config_{config}, prefix_{setting("prefix")}, timeout_{sink_timeout("nats", config)},
        jetstream_{setting("jetstream") == "true"} {}

  sink_progress write(std::span<const sink_record> records) override {
    if (auto failure = connect()) return {0, failure};
    auto done = jetstream_ ? publish_to_stream(records) : publish(records);
    if (done.failure && !done.refused) hang_up();
    if (stopped_) return {done.accepted, error{fault::cancelled, "The sink was stopped"}};
    return done;
  }

  void stop() override {
    stopped_ = true;
    std::lock_guard held{lock_};
    if (connection_) natsConnection_Close(connection_.get()); // wakes who waits for an answer
  }

private:
  std::string setting(std::string_view key) const { return sink_setting("nats", config_, key); }

  std::optional<error> connect() {
    if (stopped_) return error{fault::cancelled, "The sink was stopped"};
    if (connection_ && natsConnection_Status(connection_.get()) == NATS_CONN_STATUS_CONNECTED) return std::nullopt;
    hang_up();
    natsOptions* wanted = nullptr;
    auto status = natsOptions_Create(&wanted);
    options_ptr options{wanted};
    if (status == NATS_OK) status = fill(options.get());
    natsConnection* made = nullptr;
    if (status == NATS_OK) status = natsConnection_Connect(&made, options.get());
    if (auto failure = problem_of(status, "Cannot connect to " + setting("url"))) return failure;
    std::lock_guard held{lock_};
    connection_.reset(made);
    return std::nullopt;
  }

  natsStatus fill(natsOptions* into) const {
    auto url = setting("url"), user = setting("user"), password = setting("password"), token = setting("token"),
         ca = setting("ca");
    auto status = natsOptions_SetURL(into, url.c_str());
    // A connection that came back by itself would answer a flush although what was sent before it broke is lost.
    if (status == NATS_OK) status = natsOptions_SetAllowReconnect(into, false);
    if (status == NATS_OK) status = natsOptions_SetTimeout(into, timeout_.count());
    if (status == NATS_OK) status = natsOptions_SetWriteDeadline(into, timeout_.count());
    if (status == NATS_OK) status = natsOptions_SetName(into, ("troupe sink " + name_).c_str());
    if (status == NATS_OK && url.starts_with("tls:")) status = natsOptions_SetSecure(into, true);
    if (status == NATS_OK && !ca.empty()) status = natsOptions_SetCATrustedCertificates(into, ca.c_str());
    if (status == NATS_OK && !user.empty()) status = natsOptions_SetUserInfo(into, user.c_str(), password.c_str());
    if (status == NATS_OK && !token.empty()) status = natsOptions_SetToken(into, token.c_str());
    return status;
  }

  void hang_up() {
    std::lock_guard held{lock_};
    connection_.reset();
  }

  natsStatus make_message(message_ptr& into, const sink_record& record) const {
    natsMsg* made = nullptr;
    auto status = natsMsg_Create(&made, (prefix_ + "." + record.subject).c_str(), nullptr, record.data.data(),
                                 static_cast<int>(record.data.size()));
    into.reset(made);
    if (status == NATS_OK) status = natsMsgHeader_Set(made, "Nats-Msg-Id", record.id.c_str());
    return status;
  }

  // Nothing counts before the server has answered the flush: then it has read all that was sent before.
  sink_progress publish(std::span<const sink_record> records) {
    size_t sent = 0;
    natsStatus status = NATS_OK;
    for (; sent < records.size(); ++sent) {
      message_ptr message;
      status = make_message(message, records[sent]);
      if (status == NATS_OK) status = natsConnection_PublishMsg(connection_.get(), message.get());
      if (status != NATS_OK) break;
    }
    auto failure = problem_of(status, "Cannot publish to NATS");
    if (failure && !refuses_event(status)) return {0, failure};
    auto flushed = natsConnection_FlushTimeout(connection_.get(), timeout_.count());
    if (auto lost = problem_of(flushed, "The NATS server did not acknowledge")) return {0, lost};
    const char* complaint = nullptr; // e.g. that this user may not publish there; it comes before the flush's answer
    if (auto heard = natsConnection_GetLastError(connection_.get(), &complaint); heard != NATS_OK)
      return {0, error{fault::forbidden, "The NATS server objects: " + std::string{complaint ? complaint : ""}}};
    return {sent, failure, failure.has_value()};
  }

  // One by one, each acknowledged. The stream knows a repetition by its id.
  sink_progress publish_to_stream(std::span<const sink_record> records) {
    jsCtx* made = nullptr;
    auto status = natsConnection_JetStream(&made, connection_.get(), nullptr);
    stream_ptr stream{made};
    if (auto failure = problem_of(status, "Cannot use JetStream")) return {0, failure};
    for (size_t sent = 0; sent < records.size(); ++sent) {
      message_ptr message;
      jsPubOptions how;
      jsPubOptions_Init(&how);
      how.MaxWait = timeout_.count();
      status = make_message(message, records[sent]);
      if (status == NATS_OK) status = js_PublishMsg(nullptr, stream.get(), message.get(), &how, nullptr);
      if (auto failure = problem_of(status, "The NATS stream did not take it"))
        return {sent, failure, refuses_event(status)};
    }
    return {records.size()};
  }

  const std::string name_;
  const config_map config_;
  const std::string prefix_;
  const std::chrono::milliseconds timeout_;
  const bool jetstream_;
  std::mutex lock_; // guards the pointer against `stop`; only `write` changes it
  connection_ptr connection_;
  std::atomic<bool> stopped_ = false;
};

} // namespace

} // namespace troupe

extern "C" troupe::sink_writer* troupe_make_nats_sink(const std::string& name, const troupe::config_map& config) {
  return new troupe::nats_sink{name, config};
}
