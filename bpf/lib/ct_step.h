/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a packet does to its connection. Nothing here touches a map: a step takes the connection's word and windows as
 * they are and says what they are to be, so that one place answers both for programs that only ask and for those
 * that keep the table.
 *
 * TCP: states follow RFC 9293 as seen from between the endpoints. A packet is in the window if it begins at most where
 * the other side's window ends, ends at least one such window before the sender's last byte, and acknowledges nothing
 * that was not sent (G. van Rooij, Real Stateful TCP Packet Filtering in IP Filter, 2000).
 */
#pragma once

#include "lib/ct_subject.h"

/* How far back an acknowledgement may lie: a retransmitted one may be that old where windows are small. */
#define ACK_WINDOW_MIN 66000

enum tcp_kind {
	TCP_KIND_BAD = 0,
	TCP_KIND_SYN,
	TCP_KIND_SYN_ACK,
	TCP_KIND_FIN,
	TCP_KIND_ACK,
	TCP_KIND_RESET,
};

enum ct_effect {
	/* The packet does not fit to its connection. */
	CT_EFFECT_INVALID = 0,
	/* It belongs to it, and changes nothing. */
	CT_EFFECT_NONE,
	/* It moves the connection on, or keeps it alive. */
	CT_EFFECT_MOVE,
	/* It begins a new connection, in the place of the one that was. */
	CT_EFFECT_REPLACE,
};

/**
 * struct ct_window - what one side of a TCP connection may send
 * @end: behind the last byte that it sent
 * @max_end: the highest that the other side has allowed
 * @window: the largest that it has advertised, scaled; 0 before its first packet
 */
struct ct_window {
	__u32 end;
	__u32 max_end;
	__u32 window;
	__u8 scale;
	__u8 has_scale;
	__u8 reserved[2];
};

/**
 * struct ct_step - a connection before a packet, and after it
 * @word: see enum ct_word
 * @window: of the low endpoint, the high one
 * @sender: who sent the packet: place in @window
 * @liberal: windows are kept and not enforced
 * @effect: enum ct_effect
 */
struct ct_step {
	__u64 word;
	struct ct_window window[2];
	__u8 sender;
	__u8 liberal;
	__u8 effect;
	__u8 reserved[5];
};

static __always_inline __u32 state_of(__u64 word)
{
	return word & ((1 << CT_WORD_STATE_BITS) - 1);
}

static __always_inline __u32 flags_of(__u64 word)
{
	return word >> CT_WORD_FLAGS_SHIFT & ((1 << CT_WORD_FLAGS_BITS) - 1);
}

static __always_inline __u32 settings_of(__u64 word)
{
	return word >> CT_WORD_SETTINGS_SHIFT & ((1 << CT_WORD_SETTINGS_BITS) - 1);
}

static __always_inline __u32 word_tag(__u64 word)
{
	return word >> CT_WORD_TAG_SHIFT;
}

static __always_inline __u64 with_state(__u64 word, __u32 state)
{
	return (word & ~(__u64)((1 << CT_WORD_STATE_BITS) - 1)) | state;
}

static __always_inline __u64 with_flags(__u64 word, __u32 flags)
{
	return word | (__u64)flags << CT_WORD_FLAGS_SHIFT;
}

static __always_inline __u64 without_flags(__u64 word, __u32 flags)
{
	return word & ~((__u64)flags << CT_WORD_FLAGS_SHIFT);
}

static __always_inline int opener_of(__u64 word)
{
	return flags_of(word) & CT_FLAG_OPENED_BY_HIGH ? 1 : 0;
}

/* Whether sequence number @a lies behind @b. */
static __always_inline int is_after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

static __always_inline __u32 tcp_kind_of(__u8 flags)
{
	switch (flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST)) {
	case TCP_SYN:
		return TCP_KIND_SYN;
	case TCP_SYN | TCP_ACK:
		return TCP_KIND_SYN_ACK;
	case TCP_FIN | TCP_ACK:
		return TCP_KIND_FIN;
	case TCP_ACK:
		return TCP_KIND_ACK;
	case TCP_RST:
	case TCP_RST | TCP_ACK:
		return TCP_KIND_RESET;
	}
	return TCP_KIND_BAD;
}

/* The sequence number behind the packet's last byte; SYN and FIN count for one. */
static __always_inline __u32 tcp_end(const struct packet *packet)
{
	__u32 headers =
		packet->transport_offset - packet->network_offset + packet->tcp_header_length;

	return packet->sequence + packet->ip_length - headers + !!(packet->tcp_flags & TCP_SYN) +
	       !!(packet->tcp_flags & TCP_FIN);
}

/* A side's first packet, its SYN: all before any data is @end, data of a fast open is allowed. */
static __always_inline void begin_side(struct ct_window *side, const struct packet *packet,
				       const struct ct_subject *subject)
{
	side->end = packet->sequence + 1;
	side->max_end = tcp_end(packet);
	side->window = packet->window ?: 1;
	side->scale = subject->scale;
	side->has_scale = subject->has_scale;
}

/* An acknowledgement of @packet's sender allows the other side to send on. */
static __always_inline void allow(struct ct_window *side, const struct packet *packet, __u32 window)
{
	__u32 max_end = packet->acknowledgement + window;

	if (is_after(max_end, side->max_end))
		side->max_end = max_end;
}

/* Whether @packet lies in the windows; adds to them what it says if it counts. */
static __always_inline int fits_windows(struct ct_step *step, const struct packet *packet)
{
	struct ct_window *from = &step->window[step->sender & 1];
	struct ct_window *to = &step->window[!(step->sender & 1)];
	int scaled = from->has_scale && to->has_scale;
	__u32 window = packet->window << (scaled ? from->scale & 15 : 0);
	__u32 end = tcp_end(packet), back;
	int fits = 1;

	if (!window)
		window = 1;
	if (!from->window) {
		from->end = end;
		from->max_end = end + to->window;
	}
	if (to->window) {
		back = from->window > ACK_WINDOW_MIN ? from->window : ACK_WINDOW_MIN;
		fits = !is_after(packet->sequence, from->max_end) &&
		       !is_after(from->end - to->window, end) &&
		       !is_after(packet->acknowledgement, to->end) &&
		       !is_after(to->end - back, packet->acknowledgement);
	}
	if (!fits && !step->liberal)
		return 0;
	if (is_after(end, from->end))
		from->end = end;
	if (window > from->window)
		from->window = window;
	allow(to, packet, window);
	return 1;
}

/* A reset by somebody who knows where the connection is. */
static __always_inline int fits_reset(const struct ct_step *step, const struct packet *packet)
{
	const struct ct_window *from = &step->window[step->sender & 1];
	const struct ct_window *to = &step->window[!(step->sender & 1)];
	__u32 last = is_after(from->end, from->max_end) ? from->end : from->max_end;

	if (!from->window)
		return packet->tcp_flags & TCP_ACK && !is_after(to->end, packet->acknowledgement) &&
		       !is_after(packet->acknowledgement, to->max_end);
	return !is_after(packet->sequence, last) &&
	       !is_after(from->end - to->window, packet->sequence);
}

static __always_inline __u32 move_to(struct ct_step *step, __u32 state)
{
	step->word = with_state(step->word, state);
	return CT_EFFECT_MOVE;
}

static __always_inline __u32 step_syn(struct ct_step *step, const struct packet *packet,
				      const struct ct_subject *subject)
{
	struct ct_window *from = &step->window[step->sender & 1];
	int from_opener = step->sender == opener_of(step->word);

	switch (state_of(step->word)) {
	case CT_STATE_TIME_WAIT:
	case CT_STATE_CLOSED:
		return CT_EFFECT_REPLACE;
	case CT_STATE_SYN_SENT:
		if (from_opener)
			return packet->sequence + 1 == from->end ? CT_EFFECT_MOVE
								 : CT_EFFECT_REPLACE;
		begin_side(from, packet, subject);
		step->word = with_flags(step->word, CT_FLAG_SIMULTANEOUS);
		return move_to(step, CT_STATE_SYN_RECV);
	}
	/* Answered by the endpoint with an acknowledgement of where it is (RFC 5961); nothing to us. */
	return CT_EFFECT_NONE;
}

static __always_inline __u32 step_syn_ack(struct ct_step *step, const struct packet *packet,
					  const struct ct_subject *subject)
{
	struct ct_window *from = &step->window[step->sender & 1];
	struct ct_window *to = &step->window[!(step->sender & 1)];
	int from_opener = step->sender == opener_of(step->word);

	switch (state_of(step->word)) {
	case CT_STATE_SYN_SENT:
		if (from_opener || is_after(to->end, packet->acknowledgement) ||
		    is_after(packet->acknowledgement, to->max_end))
			return CT_EFFECT_INVALID;
		begin_side(from, packet, subject);
		/* It may send as much as the SYN had as window, before it is acknowledged. */
		from->max_end += to->window;
		to->end = to->max_end;
		allow(to, packet, from->window);
		return move_to(step, CT_STATE_SYN_RECV);
	case CT_STATE_SYN_RECV:
		if (packet->sequence + 1 != from->end)
			return CT_EFFECT_INVALID;
		if (!(flags_of(step->word) & CT_FLAG_SIMULTANEOUS))
			return from_opener ? CT_EFFECT_INVALID : CT_EFFECT_MOVE;
		if (packet->acknowledgement != to->end)
			return CT_EFFECT_INVALID;
		allow(to, packet, from->window);
		return from_opener ? move_to(step, CT_STATE_ESTABLISHED) : CT_EFFECT_MOVE;
	case CT_STATE_TIME_WAIT:
	case CT_STATE_CLOSED:
		return CT_EFFECT_INVALID;
	}
	return CT_EFFECT_NONE;
}

static __always_inline __u32 step_reset(struct ct_step *step, const struct packet *packet)
{
	__u32 state = state_of(step->word);

	if (state == CT_STATE_CLOSED || state == CT_STATE_TIME_WAIT)
		return CT_EFFECT_NONE;
	/*
	 * An endpoint that knows of no connection resets what the other side still has from an earlier one, which our
	 * side of the story does not know: the SYN that led to it is the one that counts here.
	 */
	if (state == CT_STATE_SYN_SENT && step->sender == opener_of(step->word))
		return CT_EFFECT_NONE;
	if (!fits_reset(step, packet))
		return CT_EFFECT_INVALID;
	return move_to(step, CT_STATE_CLOSED);
}

/* The state that follows from whose FIN was sent and whose was acknowledged. */
static __always_inline __u32 closing_state(__u32 flags)
{
	int low = flags & CT_FLAG_FIN_LOW, high = flags & CT_FLAG_FIN_HIGH;
	int low_acked = flags & CT_FLAG_FIN_ACKED_LOW, high_acked = flags & CT_FLAG_FIN_ACKED_HIGH;

	if (low_acked && high_acked)
		return CT_STATE_TIME_WAIT;
	if (low && high)
		return CT_STATE_LAST_ACK;
	return low_acked || high_acked ? CT_STATE_CLOSE_WAIT : CT_STATE_FIN_WAIT;
}

/* A packet with an acknowledgement, and perhaps a FIN, when the handshake has got as far as that. */
static __always_inline __u32 step_ack(struct ct_step *step, const struct packet *packet)
{
	const struct ct_window *to = &step->window[!(step->sender & 1)];
	__u32 fin = step->sender ? CT_FLAG_FIN_HIGH : CT_FLAG_FIN_LOW;
	__u32 other_fin = step->sender ? CT_FLAG_FIN_LOW : CT_FLAG_FIN_HIGH;
	__u32 other_acked = step->sender ? CT_FLAG_FIN_ACKED_LOW : CT_FLAG_FIN_ACKED_HIGH;
	int from_opener = step->sender == opener_of(step->word);
	__u32 flags, state = state_of(step->word);

	if (state == CT_STATE_CLOSED)
		return CT_EFFECT_INVALID;
	if (state == CT_STATE_SYN_SENT)
		/* The other side tells where it is in an earlier connection; see step_reset(). */
		return from_opener || packet->tcp_flags & TCP_FIN ? CT_EFFECT_INVALID
								  : CT_EFFECT_NONE;
	if (!fits_windows(step, packet))
		return CT_EFFECT_INVALID;
	if (packet->tcp_flags & TCP_FIN)
		step->word = with_flags(step->word, fin);
	if (flags_of(step->word) & other_fin && !is_after(to->end, packet->acknowledgement))
		step->word = with_flags(step->word, other_acked);
	flags = flags_of(step->word);
	if (flags & (CT_FLAG_FIN_LOW | CT_FLAG_FIN_HIGH))
		return move_to(step, closing_state(flags));
	if (state == CT_STATE_SYN_RECV && from_opener && packet->acknowledgement == to->end)
		return move_to(step, CT_STATE_ESTABLISHED);
	return CT_EFFECT_MOVE;
}

static __always_inline __u32 step_tcp(struct ct_step *step, const struct packet *packet,
				      const struct ct_subject *subject)
{
	switch (tcp_kind_of(packet->tcp_flags)) {
	case TCP_KIND_SYN:
		return step_syn(step, packet, subject);
	case TCP_KIND_SYN_ACK:
		return step_syn_ack(step, packet, subject);
	case TCP_KIND_RESET:
		return step_reset(step, packet);
	case TCP_KIND_ACK:
	case TCP_KIND_FIN:
		return step_ack(step, packet);
	}
	return CT_EFFECT_INVALID;
}

/* Everything else: the first packet in the other direction makes a connection replied to. */
static __always_inline __u32 step_other(struct ct_step *step, const struct ct_subject *subject)
{
	int from_opener = step->sender == opener_of(step->word);

	switch (state_of(step->word)) {
	case CT_STATE_UDP_NEW:
		return move_to(step, from_opener ? CT_STATE_UDP_NEW : CT_STATE_UDP_REPLIED);
	case CT_STATE_OTHER_NEW:
		return move_to(step, from_opener ? CT_STATE_OTHER_NEW : CT_STATE_OTHER_REPLIED);
	case CT_STATE_ECHO_NEW:
	case CT_STATE_ECHO_REPLIED:
		/* Requests of both sides with one identifier: answers are let through, nothing else changes. */
		if (from_opener != subject->opens)
			return CT_EFFECT_NONE;
		return from_opener ? CT_EFFECT_MOVE : move_to(step, CT_STATE_ECHO_REPLIED);
	}
	return CT_EFFECT_MOVE;
}

/*
 * Fills @step->effect, and for CT_EFFECT_MOVE the word and the windows. A later fragment of TCP has no header to go
 * by: it belongs to its connection and changes nothing.
 */
__noinline int ct_take_step(struct ct_step *step, const struct packet *packet,
			    const struct ct_subject *subject)
{
	__u32 effect;

	if (!step || !packet || !subject)
		return CT_EFFECT_INVALID;
	if (packet->protocol != PROTOCOL_TCP)
		effect = step_other(step, subject);
	else if (packet->later_fragment)
		effect = CT_EFFECT_NONE;
	else
		effect = step_tcp(step, packet, subject);
	if (effect == CT_EFFECT_MOVE && step->sender != opener_of(step->word))
		step->word = with_flags(step->word, CT_FLAG_REPLIED);
	step->effect = effect;
	return effect;
}

/* The first state of a packet's connection; CT_STATE_ENDED if such a packet begins none. */
static __always_inline __u32 first_state(const struct packet *packet,
					 const struct ct_subject *subject, __u32 settings)
{
	if (!subject->opens || packet->later_fragment)
		return CT_STATE_ENDED;
	if (packet->protocol == PROTOCOL_UDP)
		return CT_STATE_UDP_NEW;
	if (packet->has_icmp)
		return CT_STATE_ECHO_NEW;
	if (packet->protocol != PROTOCOL_TCP)
		return CT_STATE_OTHER_NEW;
	switch (tcp_kind_of(packet->tcp_flags)) {
	case TCP_KIND_SYN:
		return CT_STATE_SYN_SENT;
	case TCP_KIND_ACK:
		return settings & CT_SETTING_PICK_UP ? CT_STATE_ESTABLISHED : CT_STATE_ENDED;
	case TCP_KIND_FIN:
		return settings & CT_SETTING_PICK_UP ? CT_STATE_FIN_WAIT : CT_STATE_ENDED;
	}
	return CT_STATE_ENDED;
}

/* Both sides of a TCP connection that @packet begins, or in whose middle it was picked up. */
static __always_inline void begin_windows(struct ct_step *step, const struct packet *packet,
					  const struct ct_subject *subject)
{
	struct ct_window *from = &step->window[step->sender & 1];
	struct ct_window *to = &step->window[!(step->sender & 1)];

	begin_side(from, packet, subject);
	if (state_of(step->word) == CT_STATE_SYN_SENT)
		return;
	from->end = from->max_end;
	to->end = packet->acknowledgement;
	to->max_end = packet->acknowledgement + packet->window;
}
