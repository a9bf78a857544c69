#pragma once

#include "gateway/activity.hpp"
#include "gateway/http_context.hpp"
#include "messages/unique_fd.hpp"

#include <algorithm>
#include <memory>
#include <string>

namespace troupe {

/// Moves bytes both ways between a peer's stream and a socket of our own, as fast as the slower side takes them, until
/// one of them ends: then both are closed. Loop's thread only; lives in the context's list.
class stream_relay final : public http_stream::user, public std::enable_shared_from_this<stream_relay> {
public:
  /// `ours`: one end of a socket pair.
  /// `of`: what the peer has under way; null: always something.
  using doings = std::shared_ptr<const activity>;
  /// `first` goes to the peer before anything else, `early` is what it has sent already.
  static void start(std::unique_ptr<http_stream> peer, unique_fd ours, doings of, std::string_view first = {},
                    std::string_view early = {});
  stream_relay(std::unique_ptr<http_stream> peer, std::unique_ptr<http_stream> ours, doings of);
  ~stream_relay() override;

private:
  // The other side's events.
  struct our_side final : http_stream::user {
    explicit our_side(stream_relay& r) : of{r} {}
    void on_bytes(std::string_view bytes) override { of.forward(*of.ours_, *of.peer_, of.to_peer_, bytes); }
    void on_end() override { of.close(); }
    void on_written(bool ok) override { of.written(ok, *of.peer_, of.to_ours_); }
    void on_deadline() override {}
    void abort() override { of.close(); }
    stream_relay& of;
  };

  void on_bytes(std::string_view bytes) override {
    heard_at_ = context_->now_ms();
    forward(*peer_, *ours_, to_ours_, bytes);
  }
  void on_end() override { close(); }
  void on_written(bool ok) override { written(ok, *ours_, to_peer_); }
  void on_deadline() override {}
  void abort() override { close(); }
  bool idle() const override { return of_ && of_->idle(); }
  uint64_t rested_at() const override { return std::max(heard_at_, of_ ? of_->rested_at() : 0); }

  void forward(http_stream& from, http_stream& to, std::string& held, std::string_view bytes);
  void written(bool ok, http_stream& from, std::string& held);
  void close();

  std::shared_ptr<http_context> context_;
  std::unique_ptr<http_stream> peer_; // null once closed, as ours_
  std::unique_ptr<http_stream> ours_;
  our_side our_side_{*this};
  doings of_;
  uint64_t heard_at_ = 0;         // what came then may be on its way still
  std::string to_ours_, to_peer_; // read, and not yet taken by the other side
};

} // namespace troupe
